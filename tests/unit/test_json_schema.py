"""Schemas of MCP servers as arguments: what fits is taken and sent as it came, what does not is refused by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.actions.action import Actions, read_action
from clearance.actions.definition import ToolDefinition
from clearance.actions.json_schema import UnfitSchemaError, checked, inlined, violation
from clearance.actions.mcp import McpTool, McpTools, mcp_tools
from clearance.errors import ActionError
from clearance.server.inbox.edit_form import fields

NOWHERE = {"transport": "http", "url": "http://127.0.0.1:9"}


def tools() -> McpTools:
    return mcp_tools({"tickets": NOWHERE})


def kind(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> type[McpTool]:
    schema = {"type": "object", "properties": properties, "required": required or [], **more}
    return tools().kind_of(ToolDefinition("tickets", "do_it", "Do it.", schema, {}))


def sent(of: type[McpTool], arguments: dict[str, Any]) -> dict[str, Any]:
    """Give what is sent for arguments, once they were stored and read again."""
    stored = read_action(of, arguments).model_dump(mode="json")
    again = read_action(of, stored)
    assert isinstance(again, McpTool)
    assert again.model_dump(mode="json") == stored
    return again._sent()


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 2}, "ab"),
        ({"type": "integer", "exclusiveMinimum": 0}, 3),
        ({"type": "number", "maximum": 1}, 0.5),
        ({"type": "boolean"}, False),
        ({"type": ["string", "null"]}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x"),
        ({"enum": ["a", 1, True]}, 1),
        ({"enum": ["a", None]}, None),
        ({"const": "a"}, "a"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, [[1], []]),
        ({"type": "object"}, {"any": {"thing": [1, None]}}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}, {"b": 1}),
        ({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}, {"a": None}),
        (
            {"type": "object", "properties": {"model_dump": {"type": "string"}, "x-y": {}}},
            {"model_dump": "m", "x-y": 1},
        ),
        ({"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "null"}]}, {}),
        ({"type": "string", "pattern": "^(?=x)x"}, "x"),
        ({"type": "string", "format": "uri"}, "not checked here"),
        ({}, [1, {"a": None}]),
        (True, "x"),
        # What older drafts, or mistakes, say otherwise is not checked, and stops nothing.
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1),
        ({"type": "any"}, 1),
        ({"type": "string", "maxLength": "5"}, "abcdefg"),
        ({"type": "string", "enum": "abc"}, "x"),
        ({"type": "string", "maxLength": "5", "enum": 5, "description": 7}, "abcdefg"),
        ({"type": "object", "properties": {"type": {"type": "string"}, "enum": {"type": "integer"}}}, {"type": "t"}),
    ],
)
def test_what_fits_is_sent_as_it_came_and_what_was_left_out_is_not(schema: Any, value: Any) -> None:
    made = kind({"value": schema, "other": {"type": "string"}}, ["value"])

    assert sent(made, {"value": value}) == {"value": value}
    # The page on which somebody changes it is drawn from what its server wrote.
    assert [one.label for one in fields(made, {"value": value})] == ["Value", "Other"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "maxLength": 2}, "abc"),
        ({"type": "integer", "maximum": 2}, 3),
        ({"type": "integer"}, 2**60),
        ({"type": "number"}, float("nan")),
        ({"type": "string", "pattern": "^a+$"}, "b"),
        ({"enum": ["a"]}, "b"),
        ({"type": "array", "items": {"type": "string", "maxLength": 1}}, ["a", "bb"]),
        ({"type": "object", "properties": {"a": {"minimum": 1, "type": "integer"}}}, {"a": 0}),
        ({"type": "object", "properties": {}, "additionalProperties": False}, {"a": 0}),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, {"b": 0}),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, {}),
        ({"type": "string"}, None),
    ],
)
def test_what_does_not_fit_is_refused_by_name(schema: Any, value: Any) -> None:
    with pytest.raises(ActionError, match="value"):
        read_action(kind({"value": schema}, ["value"]), {"value": value})


def test_an_argument_more_or_less_is_refused_and_a_default_is_sent() -> None:
    made = kind(
        {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}, "c": {"default": "x", "type": "integer"}}
    )

    assert sent(made, {}) == {"b": 3}
    with pytest.raises(ActionError, match="d: "):
        read_action(made, {"d": 1})


def test_names_that_an_action_has_get_something_behind_them_and_are_sent_as_they_were() -> None:
    names = ["schema", "facts", "tool_origin", "_tools", "tools", "model_config", "from", "copy", "tools_", "config"]
    made = kind({name: {"type": "string"} for name in names})
    ours = {made._theirs.get(name, name): name for name in made.model_fields}

    assert sorted(ours) == sorted(names)
    assert sent(made, {name: their for their, name in ours.items()}) == {name: name for name in names}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}, "refers elsewhere"),
        ({"properties": {"a": {"$ref": "#/$defs/B"}}}, "is not in it"),
        ({"type": "array"}, "not one of an object"),
        ({"properties": []}, "not one of an object"),
    ],
)
def test_a_schema_by_which_nothing_can_be_read_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(TypeError, match=f"do_it of the MCP server tickets: .*{why}"):
        tools().kind_of(ToolDefinition("tickets", "do_it", "Do it.", schema, {}))


def test_a_tree_is_taken_and_how_it_goes_on_further_down_is_its_servers_to_check() -> None:
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
        "required": ["name"],
    }
    made = kind({"root": {"$ref": "#/$defs/Node"}, "all": {"$ref": "#"}}, ["root"], **{"$defs": {"Node": node}})
    tree = {"name": "a", "kids": [{"name": "b", "kids": [{"name": "c"}]}]}

    assert sent(made, {"root": tree}) == {"root": tree}
    with pytest.raises(ActionError, match="name"):
        read_action(made, {"root": {"kids": []}})


def test_a_schema_that_grows_without_end_as_it_is_read_is_refused() -> None:
    several = {f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}] * 4} for n in range(18)}
    with pytest.raises(UnfitSchemaError, match="too large"):
        inlined({"properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": {**several, "D18": {}}})


def test_tools_of_one_name_of_two_servers_are_told_apart_or_refused_by_both_names() -> None:
    schema = {"type": "object"}
    both = [ToolDefinition(server, "do_it", "Do it.", schema, {}) for server in ("tickets", "desk")]
    plain, prefixed = (mcp_tools({"tickets": NOWHERE, "desk": NOWHERE}, prefix=prefix) for prefix in (False, True))

    with pytest.raises(ValueError, match=r"do_it \(tickets and desk\): give mcp_tools\(prefix=True\)"):
        Actions([]).find([plain.kind_of(one) for one in both], [], {})
    assert [prefixed.kind_of(one).tool_name() for one in both] == ["tickets_do_it", "desk_do_it"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": ["string", "null"]}, {}]),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
        st.builds(
            lambda named, required, closed: {
                "type": "object", "properties": named, "required": sorted(required & named.keys()),
                **({"additionalProperties": False} if closed else {}),
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3), st.sets(st.sampled_from("abc")), st.booleans(),
        ),
    ),
    max_leaves=5,
)  # fmt: skip


@given(_SCHEMAS, _VALUES)
def test_what_is_taken_fits_the_schema_as_it_is_sent_and_what_fits_is_taken(schema: Any, value: Any) -> None:
    made = kind({"value": schema}, ["value"])
    fits = violation(checked(schema), value) is None

    try:
        given_on = sent(made, {"value": value})["value"]
    except ActionError:
        assert not fits
        return

    assert violation(checked(schema), given_on) is None
    if fits:
        assert _without_none(given_on) == _without_none(value)


def _without_none(value: Any) -> Any:
    """Give a value without what is None in a mapping: left out, or given as that, it may be sent either way."""
    if isinstance(value, dict):
        return {name: _without_none(one) for name, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value
