<?php

return [
    'paths' => [resource_path('views')],
    // Not in storage, which releases share: each compiles its own views.
    'compiled' => base_path('bootstrap/cache/views'),
];
