<?php

namespace App\Logging;

use Illuminate\Database\QueryException;
use Illuminate\Log\Logger;
use Monolog\Formatter\JsonFormatter;
use Monolog\LogRecord;
use Throwable;

/** Gives every handler of a channel the one form: a JSON object per line, without a stack trace's arguments. */
final class JsonLines
{
    public function __invoke(Logger $logger): void
    {
        foreach ($logger->getHandlers() as $handler) {
            $handler->setFormatter(new class extends JsonFormatter
            {
                public function format(LogRecord $record): string
                {
                    $message = $record->message;
                    $context = $record->context;
                    $error = $context['exception'] ?? null;
                    unset($context['exception'], $context['userId']);
                    if ($error instanceof Throwable) {
                        $context['error'] = $error::class;
                        // Laravel writes a statement's values into its message; what the database said has none.
                        $message = $error instanceof QueryException ? $error->getPrevious()->getMessage() : $message;
                        $context['at'] = basename($error->getFile()).':'.$error->getLine();
                    }

                    return $this->toJson([
                        'time' => $record->datetime->format('Y-m-d\TH:i:s.vp'),
                        'level' => strtolower($record->level->getName()),
                        'msg' => $message,
                        'service' => PHP_SAPI === 'cli' ? 'artisan' : 'web',
                        ...$this->normalize($context),
                    ], true)."\n";
                }
            });
        }
    }
}
