<?php

return [
    'default' => 'database',
    'connections' => [
        'database' => [
            'driver' => 'database',
            'table' => 'jobs',
            'queue' => 'default',
            // What a killed worker had in its hands is handed on after so many seconds. Longer than any job takes.
            'retry_after' => env('DB_QUEUE_RETRY_AFTER', 90),
            // The job is written in the transaction that writes what it is for.
            'after_commit' => false,
        ],
    ],
    'batching' => ['database' => 'mysql', 'table' => 'job_batches'],
    'failed' => ['driver' => 'database-uuids', 'database' => 'mysql', 'table' => 'failed_jobs'],
];
