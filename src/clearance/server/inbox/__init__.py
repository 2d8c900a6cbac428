"""The inbox: pages on which people decide. Rendered here, usable without a script, one look for every request.

pages            all routes, put together; the files beside them
list_page        who must decide what, by when; what became of it meanwhile
filters          what a list is narrowed to, as addresses say: a request knows by it from which list one came
request_page     one request: what is asked, or what became of it
decision_forms   the forms on it: approve, reject, change, close
oversight        the audit log, the freeze switch, the statistics
signing_in       a token for a session, and back

frame            what every page has around it: who, the switch, how much waits
route            what surrounds every answer: security headers, compression, errors as pages
session          who is signed in: a cookie that holds the token, and what every form must bring

list_rows        a request as a row of the list
request_view     a request as its page shows it
reports          the box on top: what happened to an answer, or to the request meanwhile
edit_form        the form for a change, made from an action's schema
wording          times and needs as people read them, and how events look
text             text from outside as HTML: every hidden character in its place
chart            what went on before, as SVG
assets           templates and files, read once
"""
