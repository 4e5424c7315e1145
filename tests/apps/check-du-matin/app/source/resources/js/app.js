document.querySelector("input[type=email]")?.focus();
