// The shop with @croct/sdk as a site uses it: its public facade, nothing replaced.
import {SdkFacade} from '@croct/sdk/facade';

const sdk = SdkFacade.init({
    appId: window.settings.appId,
    baseEndpointUrl: window.settings.collector,
    track: false,
});

// What the SDK says it tracked, kept for the test over page loads of the tab. One entry per event,
// written before the SDK sends it.
function remember({event, timestamp, userToken, status}) {
    if (status === 'pending') {
        const tracked = JSON.parse(sessionStorage.getItem('test.tracked') ?? '[]');

        tracked.push({type: event.type, time: timestamp, user: userToken?.getSubject() ?? null});
        sessionStorage.setItem('test.tracked', JSON.stringify(tracked));
    }
}

// Tracking is enabled only now, so that the events of the page load are remembered as well.
sdk.tracker.addListener(remember);
sdk.tracker.enable();

const item = {
    index: 0,
    product: {productId: 'mug', name: 'Mug', displayPrice: 9.5, currency: 'EUR'},
    quantity: 2,
    total: 19,
};
const cart = {currency: 'EUR', items: [item], total: 19, taxes: {vat: 3.03}};
const order = {
    orderId: 'order-7',
    currency: 'EUR',
    items: [item],
    total: 24.9,
    shippingPrice: 5.9,
    status: 'placed',
};
let votes = 0;

const actions = {
    'sign-in': () => sdk.identify('alice'),
    'sign-in-too-long': () => sdk.identify('x'.repeat(300)),
    'sign-out': () => sdk.anonymize(),
    'add': () => sdk.tracker.track('cartModified', {cart}),
    'pay': () => sdk.tracker.track('orderPlaced', {order}),
    'subscribe': () => sdk.tracker.track('goalCompleted', {
        goalId: 'newsletter', value: 1.5, currency: 'USD',
    }),
    // Scripts that shorten texts cut emojis in half.
    'vote': () => sdk.tracker.track('eventOccurred', {
        name: 'vote', details: {stars: 5, number: ++votes, comment: 'Nice 👍'.slice(0, 6)},
    }),
    'quote': () => sdk.tracker.track('leadGenerated', {
        leadId: 'lead-1', value: 300, currency: 'EUR', lead: {company: 'Ünïcode & Söhne "GmbH"'},
    }),
    'filter': () => history.pushState(null, '', '/shop.html?colour=blue'),
};

document.addEventListener('DOMContentLoaded', () => {
    for (const [id, action] of Object.entries(actions)) {
        document.getElementById(id).addEventListener('click', async () => {
            // The SDK rejects what it could not deliver yet; the tests look at what arrives.
            try { await action(); } catch {}
        });
    }
});
