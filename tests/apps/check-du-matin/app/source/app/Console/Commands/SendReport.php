<?php

namespace App\Console\Commands;

use App\Mail\Report;
use App\Models\Check;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\Log;
use Illuminate\Support\Facades\Mail;
use Symfony\Component\Mailer\Exception\TransportExceptionInterface;

final class SendReport extends Command
{
    protected $signature = 'checks:report';

    protected $description = 'Mail the checks of the last day';

    public function handle(): int
    {
        $checks = Check::query()->where('created_at', '>=', now()->subDay())->latest('id')->limit(100)->get(Check::columns());
        try {
            Mail::to(config('checks.report_to'))->send(new Report($checks));
        } catch (TransportExceptionInterface $error) {
            Log::error('mail not sent', ['relay' => config('mail.mailers.smtp.host'), 'reason' => $error->getMessage()]);
            $this->error('mail not sent: '.$error->getMessage());

            return self::FAILURE;
        }
        Log::info('mail sent', ['relay' => config('mail.mailers.smtp.host'), 'checks' => $checks->count()]);
        $this->line("mailed {$checks->count()} checks");

        return self::SUCCESS;
    }
}
