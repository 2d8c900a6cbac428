"""Nothing: what stood here belongs to the sample agent, whose migrations are its own. Databases of before had it."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change nothing."""
