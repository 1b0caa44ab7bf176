package md

import (
	"strings"
)

// Fold collapses white space, as a browser does.
func Fold(s string) string { return strings.Join(strings.Fields(s), " ") }
