import sqlalchemy as sa

from clearance import Action, Clearance, Effect, Facts

tables = sa.MetaData()
products = sa.Table("products", tables, sa.Column("name", sa.Text, primary_key=True), sa.Column("cents", sa.Integer))


class AddProduct(Action[Facts]):
    """Put a product into the catalogue, for example name "desk lamp", cents 4900."""

    name: str
    cents: int

    def perform(self, effect: Effect) -> str:
        effect.connection.execute(products.insert().values(name=self.name, cents=self.cents))
        return f"{self.name} is in the catalogue, at {self.cents} cents."


class RemoveProduct(Action[Facts]):
    """Take a product out of the catalogue, for example name "desk lamp"."""

    name: str

    def perform(self, effect: Effect) -> str:
        effect.connection.execute(products.delete().where(products.c.name == self.name))
        return f"{self.name} is not in the catalogue any more."


def make_tables() -> None:
    with clearance.opened_database() as database:
        database.write_now(tables.create_all)


clearance = Clearance(actions=[AddProduct, RemoveProduct], at_start=make_tables)
