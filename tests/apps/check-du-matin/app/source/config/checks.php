<?php

return [
    'clients' => ['Port', 'Grue', 'Quai'],
    'milliseconds' => env('CHECK_MS', 500),
    'keep_days' => env('CHECKS_KEEP_DAYS', 60),
    'timezone' => 'Europe/Paris',
    'report_to' => env('REPORT_TO', 'support@example.com'),
    'demo' => ['email' => env('DEMO_EMAIL', 'demo@c2s.fr'), 'password' => env('DEMO_PASSWORD')],
];
