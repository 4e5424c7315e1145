// Stands for the release in what `next build` makes; scripts/stamp.js puts the release's own mark in its place.
export const PLACEHOLDER = 'release-to-be-stamped';
