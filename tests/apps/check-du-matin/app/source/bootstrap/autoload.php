<?php

// Debian's Laravel is on PHP's include path; only the application's own classes are to be found here.
require_once '/usr/share/php/Illuminate/autoload.php';

spl_autoload_register(function (string $class): void {
    if (str_starts_with($class, 'App\\')) {
        $file = dirname(__DIR__).'/app/'.str_replace('\\', '/', substr($class, 4)).'.php';
        if (is_file($file)) {
            require $file;
        }
    }
});

// What .env holds stays in this process; programs that it starts get the container's own environment only.
Illuminate\Support\Env::disablePutenv();
