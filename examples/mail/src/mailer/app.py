"""A function that sends mail, taken as it is. A mail server cannot be asked later: what is unknown a person settles."""

import os
import smtplib
from email.message import EmailMessage

from clearance import Clearance, gated
from clearance.actions import NotDone


def send_mail(to: str, subject: str, text: str) -> str:
    """Send a mail, for example to ada@example.com."""
    message = EmailMessage()
    host, port = os.environ.get("MAIL_HOST", "127.0.0.1"), int(os.environ.get("MAIL_PORT", "25"))
    try:
        message["From"] = os.environ.get("MAIL_FROM", "agent@example.com")
        message["To"], message["Subject"] = to, subject
        message.set_content(text)
        server = smtplib.SMTP(host, port, timeout=5)
    except (OSError, ValueError) as exc:
        raise NotDone(f"Nothing was handed over to the mail server: {exc}.") from exc
    with server:
        try:
            server.send_message(message)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused) as exc:
            raise NotDone(f"The mail server takes no mail for {to}.") from exc
    return f"Sent {subject!r} to {to}."


clearance = Clearance(actions=[gated(send_mail, timeout_s=15)])
