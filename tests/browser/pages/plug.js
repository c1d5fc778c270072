// An article with @croct/plug as a site uses it: two options, plugins at their defaults.
import croct from '@croct/plug';

croct.plug({appId: window.settings.appId, baseEndpointUrl: window.settings.collector});

document.getElementById('sign-in').addEventListener('click', () => croct.identify('bob'));
document.getElementById('pay').addEventListener('click', () => {
    croct.track('orderPlaced', {
        order: {
            orderId: 'order-8',
            currency: 'USD',
            items: [{
                index: 0,
                product: {productId: 'mug', name: 'Mug', displayPrice: 9.5},
                quantity: 1,
                total: 9.5,
            }],
            total: 9.5,
            status: 'paid',
        },
    });
    croct.track('goalCompleted', {goalId: 'first-order'});
});
