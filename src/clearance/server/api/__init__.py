"""The approvals API.

routes         the routes
telling_route  one of them, whose failures are told
shapes         our values as the contract has them
dossier        all that there is to show of one request, for the inbox, too
conversation   the conversation that led to it
submission     a decision of whoever is signed in: recorded, carried out, its thread told
"""
