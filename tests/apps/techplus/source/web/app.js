const built = '{{version}}';
const { version } = await (await fetch('/version')).json();
document.querySelector('#version').textContent = version === built ? version : `${version}, page of ${built}`;
