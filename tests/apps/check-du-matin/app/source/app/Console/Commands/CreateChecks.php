<?php

namespace App\Console\Commands;

use App\Models\Check;
use App\Models\Execution;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\Log;

final class CreateChecks extends Command
{
    protected $signature = 'checks:create';

    protected $description = 'Create the checks that are due and queue their work';

    public function handle(): int
    {
        foreach (config('checks.clients') as $client) {
            $check = Check::open($client);
            Execution::submit("check-{$check->id}", config('checks.milliseconds'), $check->id);
        }
        $count = count(config('checks.clients'));
        Log::info('checks created', ['count' => $count]);
        $this->line("created {$count} checks");

        return self::SUCCESS;
    }
}
