// Package browser has tests of the admin page in a headless Chromium; it has no code of its own. It
// is a module of its own, as chromedp is needed for nothing else.
package browser
