<?php

return [
    // Loopback unless somebody says otherwise; the image says 0.0.0.0, where loopback would be the container's own.
    'host' => env('HOST', '127.0.0.1'),
    'port' => env('PORT', 8001),
    'grace_milliseconds' => env('SHUTDOWN_GRACE_MS', 15000),
];
