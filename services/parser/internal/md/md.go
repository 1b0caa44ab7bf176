// Package md writes Markdown.
package md
