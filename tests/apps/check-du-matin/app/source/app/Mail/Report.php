<?php

namespace App\Mail;

use Illuminate\Mail\Mailable;
use Illuminate\Mail\Mailables\Content;
use Illuminate\Mail\Mailables\Envelope;
use Illuminate\Support\Collection;

final class Report extends Mailable
{
    public function __construct(public readonly Collection $checks)
    {
    }

    public function envelope(): Envelope
    {
        return new Envelope(subject: 'Check du Matin');
    }

    public function content(): Content
    {
        return new Content(text: 'report');
    }
}
