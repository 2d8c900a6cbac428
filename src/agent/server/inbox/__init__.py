"""The inbox: pages on which people decide. Rendered here, usable without a script, one look for every request.

pages     routes: what is read, what is posted, and redirects after it
route     what surrounds every page: security headers, compression, errors as pages
session   who is signed in: a cookie that holds the token, and what every form must bring
view      what templates show, made of the desk's values
text      text from outside as HTML: every hidden character in its place
chart     what went on before, as SVG
assets    templates and files, read once
"""
