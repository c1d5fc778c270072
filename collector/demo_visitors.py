"""Made-up visitors of a made-up shop: what they do, as the bodies of the three protocols.

Each visitor arrives by scanning a QR code, by a campaign or from a search, and walks on until it
has bought something or lost interest. Owns what is sent, never how: no connection, no clock;
randomness is handed in. Must not know what the collector answers.
"""

import hashlib
import random
import uuid
from collections.abc import Callable
from typing import Final

from collector.demo_shop import PRODUCTS, Body, Channel, Shop, Step, iso, unsigned_token

_ACTIVE: Final = 6
# Of 100 visitors, so many come as far as the cart, sign up, pay, want their money back.
_CART, _SIGN_UP, _PAYMENT, _REFUND = 55, 35, 20, 3
# A back end that got no answer in time sends the event again.
_REPEAT_PERCENT: Final = 10

_USER_AGENTS: Final = (
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Mobile Safari/537.36"
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
)
_SCREENS: Final = ((390, 844), (412, 915), (1920, 1080), (1440, 900))
_LANGUAGES: Final = ("en-US", "en-GB", "de-DE", "fr-FR", "pt-BR", "hi-IN")
_NAMES: Final = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Leslie")
_PLACES: Final = ("poster-station", "table-tent-14", "flyer-autumn", "receipt", "window-sticker")
# How they come: most by a scan, because that is what a back end's conversions are told of.
_WAYS: Final = ("scan", "scan", "scan", "campaign", "search")
_PROVIDERS: Final = ("stripe", "stripe", "lemonsqueezy", "polar")
_PLANS: Final = ("monthly-box", "monthly-box", "yearly-box")


class Crowd:
    """A few visitors at a time; who leaves is replaced."""

    def __init__(self, shop: Shop, rng: random.Random) -> None:
        self._shop = shop
        self._rng = rng
        self._active = [Visitor(shop, rng) for _ in range(_ACTIVE)]

    def next(self, now_ms: int) -> list[Step]:
        """What happens next, at `now_ms` (Unix milliseconds): one event, rarely a repeat of it."""
        place = self._rng.randrange(len(self._active))
        visitor = self._active[place]
        steps = visitor.next(now_ms)
        if visitor.has_left:
            self._active[place] = Visitor(self._shop, self._rng)
        return steps


class Visitor:
    """One visitor with its ids and what it is still going to do."""

    def __init__(self, shop: Shop, rng: random.Random) -> None:
        self._shop = shop
        self._rng = rng
        self.id = self._uuid()
        self._scan = self._uuid()
        self._session = self._uuid()
        self._tab = self._uuid()
        self._agent = rng.choice(_USER_AGENTS)
        self._language = rng.choice(_LANGUAGES)
        self._screen = rng.choice(_SCREENS)
        self._place = rng.choice(_PLACES)
        self._product = rng.choice(PRODUCTS)
        self._quantity = rng.randrange(1, 4)
        self._user = f"customer-{rng.randrange(10_000, 100_000)}"
        self._order = f"order-{rng.randrange(100_000, 1_000_000)}"
        self._currency = "USD" if self._language == "en-US" else "EUR"
        self._provider = rng.choice(_PROVIDERS)
        self._plan = rng.choice(_PLANS)
        self._token = ""
        self._way = rng.choice(_WAYS)
        self._previous = "https://www.google.com/" if self._way == "search" else ""
        self._page = {
            "scan": f"/welcome?scnv={self._scan}&utm_source=qr&utm_medium={self._place}",
            "campaign": "/welcome?utm_source=newsletter&utm_campaign=autumn-roast",
            "search": "/welcome",
        }[self._way]
        self._script = self._write_script()

    @property
    def has_left(self) -> bool:
        """Whether it does nothing more."""
        return not self._script

    def next(self, now_ms: int) -> list[Step]:
        """Its next event, twice when a back end is unsure whether the first arrived."""
        step = self._script.pop(0)(now_ms)
        is_repeated = (
            step.channel == "scanova server" and self._rng.randrange(100) < _REPEAT_PERCENT
        )
        return [step, step] if is_repeated else [step]

    def _write_script(self) -> list[Callable[[int], Step]]:
        draw = self._rng.randrange(100)
        script: list[Callable[[int], Step]] = [
            self._views,
            self._opens,
            self._reports_view,
            self._scrolls,
            self._turns_to_product,
            self._sees_product,
        ]
        if draw < _CART:
            script += [self._clicks, self._fills_cart, self._reports_cart]
        if draw < _SIGN_UP:
            script += [self._submits_form, self._signs_in]
            if self._way == "scan":
                script.append(self._signed_up)
            script += [self._reports_person, self._reaches_goal]
            if self._shop.goal:
                script.append(self._reports_goal)
        if draw < _PAYMENT:
            script.append(self._orders)
            if self._way == "scan":
                script.append(self._paid)
            script.append(self._reports_payment)
            if draw < _REFUND:
                script.append(self._reports_refund)
        else:
            script.append(self._leaves)
        return script

    # --- Scanova, in the browser

    def _views(self, now_ms: int) -> Step:
        return self._scanova(now_ms, "pageview", {})

    def _scrolls(self, now_ms: int) -> Step:
        return self._scanova(now_ms, "scroll", {"scroll_depth": self._rng.choice((25, 50, 75))})

    def _turns_to_product(self, now_ms: int) -> Step:
        self._previous, self._page = self._url, f"/products/{self._product[0]}"
        return self._scanova(now_ms, "pageview", {})

    def _clicks(self, now_ms: int) -> Step:
        clicked: Body = {
            "element_type": "button",
            "element_text": "Add to cart",
            "destination_url": f"{self._shop.origin}/cart",
        }
        return self._scanova(now_ms, "click", clicked)

    def _submits_form(self, now_ms: int) -> Step:
        self._previous, self._page = self._url, "/sign-up"
        return self._scanova(
            now_ms, "form_submit", {"form_name": "sign-up", "form_action": "/account"}
        )

    def _scanova(self, now_ms: int, kind: str, metadata: Body) -> Step:
        width, height = self._screen
        body: Body = {
            "event_id": self._uuid(),
            "site_id": self._shop.site,
            "event_type": kind,
            "web_session_id": self._session,
            "visitor_id": self.id,
            "page_url": self._url,
            "timestamp": iso(now_ms),
            "device": {
                "user_agent": self._agent,
                "screen_width": width,
                "screen_height": height,
                "language": self._language,
            },
            "metadata": metadata,
            "consent": "granted",
        }
        if self._way == "scan":
            body["scan_session_id"] = self._scan
        if self._previous:
            body["referrer"] = self._previous
        return self._step("scanova", body)

    # --- Scanova, from the shop's back end

    def _signed_up(self, now_ms: int) -> Step:
        email = f"{self._user}@example.com"
        return self._reported(
            now_ms,
            "signup",
            {
                "user_identifiers": {
                    "email_hash": hashlib.sha256(email.encode()).hexdigest(),
                    "external_id": self._user,
                },
                "properties": {"plan": self._plan, "source": self._place},
            },
        )

    def _paid(self, now_ms: int) -> Step:
        return self._reported(
            now_ms,
            "purchase",
            {
                "conversion_value": {"amount": self._total, "currency": self._currency},
                "user_identifiers": {"external_id": self._user},
                "properties": {"order_id": self._order, "products": [self._product[0]]},
            },
        )

    def _reported(self, now_ms: int, name: str, members: Body) -> Step:
        body: Body = {
            "event_id": self._uuid(),
            "site_id": self._shop.site,
            "event_name": name,
            "scan_session_id": self._scan,
            "web_session_id": self._session,
            "visitor_id": self.id,
            "event_time": iso(now_ms),
            "consent": "granted",
            **members,
        }
        return self._step("scanova server", body)

    # --- Croct

    def _opens(self, now_ms: int) -> Step:
        referrer = "https://www.example.org/"
        return self._beacon(now_ms, {"type": "pageOpened", "url": self._url, "referrer": referrer})

    def _sees_product(self, now_ms: int) -> Step:
        return self._beacon(now_ms, {"type": "productViewed", "product": self._croct_product()})

    def _fills_cart(self, now_ms: int) -> Step:
        cart = {
            "currency": self._currency,
            "items": [self._item()],
            "total": self._total,
            "lastUpdateTime": now_ms,
        }
        return self._beacon(now_ms, {"type": "cartModified", "cart": cart})

    def _signs_in(self, now_ms: int) -> Step:
        self._token = unsigned_token(self._shop.app_id, self._user, now_ms // 1_000)
        return self._beacon(now_ms, {"type": "userSignedIn", "externalUserId": self._user})

    def _reaches_goal(self, now_ms: int) -> Step:
        return self._beacon(
            now_ms,
            {"type": "goalCompleted", "goalId": "sign-up", "value": 5, "currency": self._currency},
        )

    def _orders(self, now_ms: int) -> Step:
        order = {
            "orderId": self._order,
            "currency": self._currency,
            "items": [self._item()],
            "total": self._total,
            "paymentMethod": "credit-card",
            "status": "placed",
        }
        return self._beacon(now_ms, {"type": "orderPlaced", "order": order})

    def _leaves(self, now_ms: int) -> Step:
        details = {"reason": self._rng.choice(("price", "browsing", "unknown")), "pages": 2}
        return self._beacon(
            now_ms, {"type": "eventOccurred", "name": "visitEnded", "details": details}
        )

    def _beacon(self, now_ms: int, payload: Body) -> Step:
        body: Body = {
            "context": {
                "url": self._url,
                "tabId": self._tab,
                "timeZone": "Europe/Berlin",
                "metadata": {"sdkVersion": "0.22.1"},
            },
            "payload": payload,
            "originalTime": now_ms,
            "departureTime": now_ms,
        }
        return self._step("croct", body)

    def _croct_product(self) -> Body:
        number, name, price = self._product
        url = f"{self._shop.origin}/products/{number}"
        return {
            "productId": number,
            "name": name,
            "displayPrice": price,
            "currency": self._currency,
            "url": url,
        }

    def _item(self) -> Body:
        return {
            "index": 0,
            "product": self._croct_product(),
            "quantity": self._quantity,
            "total": self._total,
        }

    # --- Zenovay

    def _reports_view(self, now_ms: int) -> Step:
        return self._zenovay(now_ms, "pageview", {"url": self._url, "title": "Welcome"})

    def _reports_cart(self, now_ms: int) -> Step:
        props: Body = {"name": "cart_filled", "product": self._product[0], "total": self._total}
        return self._zenovay(now_ms, "event", props)

    def _reports_person(self, now_ms: int) -> Step:
        props: Body = {
            "email": f"{self._user}@example.com",
            "name": self._rng.choice(_NAMES),
            "customer_id": self._user,
            "plan": self._plan,
        }
        return self._zenovay(now_ms, "identify", props)

    def _reports_goal(self, now_ms: int) -> Step:
        return self._zenovay(now_ms, "goal", {"name": self._shop.goal, "value": 5})

    def _reports_payment(self, now_ms: int) -> Step:
        return self._zenovay(now_ms, "purchase", self._payment("evt"))

    def _reports_refund(self, now_ms: int) -> Step:
        refund = {**self._payment("refund"), "status": "refunded"}
        return self._zenovay(now_ms, "purchase", refund)

    def _payment(self, prefix: str) -> Body:
        return {
            "amount": self._total,
            "currency": self._currency,
            "payment_provider": self._provider,
            "provider_event_id": f"{prefix}_{self._order}",
            "customer_email": f"{self._user}@example.com",
            "plan_name": self._plan,
        }

    def _zenovay(self, now_ms: int, kind: str, props: Body) -> Step:
        body: Body = {
            "type": kind,
            "ts": now_ms,
            "visitorId": self.id,
            "sessionId": self._session,
            "props": props,
            "idempotencyKey": f"{kind}-{self._uuid()}",
        }
        return self._step("zenovay", body)

    # --- common

    @property
    def _url(self) -> str:
        return self._shop.origin + self._page

    @property
    def _total(self) -> float:
        return round(self._product[2] * self._quantity, 2)

    def _step(self, channel: Channel, body: Body) -> Step:
        return Step(
            channel=channel,
            body=body,
            visitor=self.id,
            user_agent=self._agent,
            language=self._language,
            token=self._token,
        )

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
