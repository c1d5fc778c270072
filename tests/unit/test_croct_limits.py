"""How far the limits of Croct's payloads go: lengths, ranges, forms and sizes."""

from typing import Any

import pytest

from tests.support.croct import changed, example_payloads, faults, pointer

EXAMPLES = example_payloads()
UUID = "123e4567-e89b-12d3-a456-426614174000"


TEXTS = [
    ("eventOccurred", ("name",), 1, 50),
    ("userSignedUp", ("externalUserId",), 1, 254),
    ("userSignedIn", ("externalUserId",), 1, 254),
    ("userSignedOut", ("externalUserId",), 1, 254),
    ("userProfileChanged", ("externalUserId",), 1, 254),
    ("checkoutStarted", ("orderId",), 1, 50),
    ("goalCompleted", ("goalId",), 3, 100),
    ("goalCompleted", ("currency",), 1, 10),
    ("leadGenerated", ("leadId",), 1, 100),
    ("leadGenerated", ("currency",), 1, 10),
    ("interestShown", ("interests", 0), 1, 50),
    ("postViewed", ("post", "postId"), 1, 200),
    ("postViewed", ("post", "title"), 1, 200),
    ("postViewed", ("post", "tags", 0), 1, 50),
    ("productViewed", ("product", "productId"), 1, 50),
    ("productViewed", ("product", "sku"), 1, 50),
    ("productViewed", ("product", "name"), 1, 200),
    ("productViewed", ("product", "category"), 1, 100),
    ("productViewed", ("product", "brand"), 1, 100),
    ("productViewed", ("product", "variant"), 1, 50),
    ("productViewed", ("product", "currency"), 1, 10),
    ("cartModified", ("cart", "currency"), 1, 10),
    ("cartModified", ("cart", "coupon"), 1, 50),
    ("cartModified", ("cart", "items", 0, "coupon"), 1, 50),
    ("orderPlaced", ("order", "orderId"), 1, 50),
    ("orderPlaced", ("order", "paymentMethod"), 1, 50),
]


@pytest.mark.parametrize(("kind", "path", "shortest", "longest"), TEXTS)
def test_texts_go_up_to_their_limits(
    kind: str, path: tuple[str | int, ...], shortest: int, longest: int
) -> None:
    """Both bounds belong to what is taken; characters are counted, not bytes."""
    filler = "a" if "goalId" in path else "é"
    for length, is_good in (
        (shortest, True),
        (shortest - 1, False),
        (longest, True),
        (longest + 1, False),
    ):
        found = faults(changed(kind, *path, to=filler * length))
        assert set(found) == (set() if is_good else {pointer(*path)})
    assert set(faults(changed(kind, *path, to=5))) == {pointer(*path)}


NUMBERS = [
    # path, taken, refused
    (("orderPlaced", "order", "total"), (0, 0.01, 1e12), (-0.01, "1", True, None)),
    (("orderPlaced", "order", "installments"), (1, 1.5, None), (0, 0.5)),
    (("orderPlaced", "order", "taxes", "state"), (-5, 0.5), ("5", None, True)),
    (("orderPlaced", "order", "items", 0, "index"), (0, 0.5), (-1, "0")),
    (("orderPlaced", "order", "items", 0, "quantity"), (1, 1.5), (0, 0.99)),
    (("orderPlaced", "order", "items", 0, "total"), (0,), (-1,)),
    (("cartModified", "cart", "lastUpdateTime"), (0, 1.5, -1), (None, "0")),
    (("cartModified", "cart", "costs", "manufacturing"), (-1,), ([],)),
    (("cartModified", "cart", "discount"), (0, None), (-1,)),
    (("productViewed", "product", "displayPrice"), (0, 0.5), (-1, None)),
    (("productViewed", "product", "originalPrice"), (0, None), (-1,)),
    (("goalCompleted", "value"), (0, None), (-1, "1")),
    (("leadGenerated", "value"), (0, None), (-1, False)),
    (("userClicked", "point", "x"), (0, 3.0), (-1, 0.5, None)),
    (("userScrolled", "viewportSize", "height"), (0, 1e6), (-1, 0.5)),
    (("pageLoaded", "lastModifiedTime"), (None, -3_600_000, 0.5), ("0", False)),
    (("postViewed", "post", "publishTime"), (-1, 0.5), (None,)),
    (("nothingChanged", "sinceTime"), (0, 1.7e12), (None, "now")),
]


@pytest.mark.parametrize(("path", "taken", "refused"), NUMBERS)
def test_numbers_go_up_to_their_limits(
    path: tuple[Any, ...], taken: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    """Fractions pass where the SDK lets them, booleans and texts are no numbers."""
    for value in taken:
        assert faults(changed(*path, to=value)) == {}, value
    for value in refused:
        assert set(faults(changed(*path, to=value))) == {pointer(*path[1:])}, value


FORMS = [
    (
        ("tabOpened", "tabId"),
        (UUID, UUID.upper()),
        (UUID.replace("-", ""), UUID + "\n", "{" + UUID + "}", ""),
    ),
    (
        ("pageOpened", "url"),
        ("https://a", "HTTP://[::1]:3000/", "https://exämple.com/ü?q=|#x"),
        ("", "/home", "//a.example", "ftp://a.example", "https://", "https:///x", "http://a b",
         "https://?x", "https://a.example/\n", "about:blank"),
    ),
    (
        ("pageOpened", "referrer"),
        ("android-app://com.example/", "https://a.example", "about:client"),
        ("", "home", "https://", "1a:b", "x:\ny"),
    ),
    (
        ("linkOpened", "link"),
        ("mailto:a@b.example?subject=x", "javascript:void (0)", "tel:+1 555", "HTTPS://a.example"),
        ("", "/next", "https:/a.example", "http:a"),
    ),
    (("productViewed", "product", "url"), ("https://a.example", "app://p/1"), ("p/1", "")),
    (("productViewed", "product", "imageUrl"), ("data:image/png;base64,AA==",), ("a.png",)),
    (("postViewed", "post", "url"), ("https://a.example",), ("post",)),
    (("tabVisibilityChanged", "visibility"), ("visible", "hidden"), ("Visible", "prerender", None)),
    (
        ("orderPlaced", "order", "status"),
        ("placed", "paid", "completed", "complete", None),
        ("COMPLETED", "shipped", 1),
    ),
    (
        ("goalCompleted", "goalId"),
        ("abc", "a:b", "a-_1", "9" * 100),
        ("ab", "-ab", "ab_", "a b", "añb", "abc\n"),
    ),
    (
        ("userProfileChanged", "patch", "operations", 0, "path"),
        (".", "a", "a.b[0].c", "[1]", "[1][2].x", "_a1"),
        ("", "..", "a.", ".a", "a[x]", "1a", "a b", "a[0]b", "a\n"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "taken", "refused"), FORMS)
def test_forms_of_texts(
    path: tuple[Any, ...], taken: tuple[Any, ...], refused: tuple[Any, ...]
) -> None:
    """URLs, UUIDs, ids, listed words and paths have their form up to the last character."""
    for value in taken:
        assert faults(changed(*path, to=value)) == {}, value
    for value in refused:
        assert set(faults(changed(*path, to=value))) == {pointer(*path[1:])}, value


SIZES = [
    (("interestShown", "interests"), "x", 1, 10),
    (("postViewed", "post", "tags"), "x", 1, 10),
    (("postViewed", "post", "categories"), "x", 1, 10),
    (("postViewed", "post", "authors"), "x", 1, 10),
    (("orderPlaced", "order", "items"), EXAMPLES["orderPlaced"]["order"]["items"][0], 1, 40),
    (("cartModified", "cart", "items"), EXAMPLES["orderPlaced"]["order"]["items"][0], 0, 40),
    (("userProfileChanged", "patch", "operations"), {"type": "unset", "path": "a"}, 0, 100),
]


@pytest.mark.parametrize(("path", "item", "fewest", "most"), SIZES)
def test_lists_have_their_sizes(path: tuple[Any, ...], item: Any, fewest: int, most: int) -> None:
    """Carts may be empty, orders may not; labels go up to ten."""
    assert faults(changed(*path, to=[item] * fewest)) == {}
    assert faults(changed(*path, to=[item] * most)) == {}
    if fewest:
        assert set(faults(changed(*path, to=[]))) == {pointer(*path[1:])}
    if most == 10:
        assert set(faults(changed(*path, to=[item] * 11))) == {pointer(*path[1:])}


def test_charges_need_a_member_and_no_more() -> None:
    """Taxes and costs may have any keys but not none."""
    for name in ("taxes", "costs"):
        for kind, noun in (("orderPlaced", "order"), ("cartModified", "cart")):
            assert faults(changed(kind, noun, name, to={"VAT (19 %)": 1, "": 2})) == {}
            assert set(faults(changed(kind, noun, name, to={}))) == {pointer(noun, name)}


def test_details_are_flat_and_bounded() -> None:
    """Up to ten plain keys of up to 20 characters, texts of up to 300, no collections."""
    good = {"a" * 20: "x" * 300, "_b": None, "c": True, "d": 1.5}
    assert faults(changed("eventOccurred", "details", to=good)) == {}
    assert faults(changed("eventOccurred", "details", to={})) == {}
    assert faults(changed("eventOccurred", "details", to={f"k{i}": i for i in range(10)})) == {}
    at = pointer("details")
    for bad in ({f"k{i}": i for i in range(11)}, {"a" * 21: 1}, {"": 1}, {"1a": 1}, {"a-b": 1}, []):
        assert set(faults(changed("eventOccurred", "details", to=bad))) == {at}, bad
    for value in ("x" * 301, [], {}):
        found = faults(changed("eventOccurred", "details", to={"key": value}))
        assert set(found) == {f"{at}/key"}
