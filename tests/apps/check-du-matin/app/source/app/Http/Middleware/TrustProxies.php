<?php

namespace App\Http\Middleware;

use Illuminate\Http\Middleware\TrustProxies as Base;
use Illuminate\Http\Request;

/** The port is published on loopback only, so whoever speaks to it is the nginx in front. */
final class TrustProxies extends Base
{
    protected $proxies = '*';

    protected $headers = Request::HEADER_X_FORWARDED_FOR | Request::HEADER_X_FORWARDED_HOST
        | Request::HEADER_X_FORWARDED_PORT | Request::HEADER_X_FORWARDED_PROTO;
}
