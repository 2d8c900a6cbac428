"""What people are shown and do, without any of the forms of API, pages and terminal.

desk         all that a reviewer can see and do
lists        pages of requests, in order
entries      a request as an entry of a list
detail       one request with all that the journal tells of it
comparison   a request as it was asked, and as things stand now
flights      what is in flight elsewhere, in words
labels       states and events, as people read them
choices      what somebody may answer, and in words why not
statistics   how awake reviewers are, and how much policy asks
replay       another policy over what was
"""
