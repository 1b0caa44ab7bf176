package token

// The scanners below find what the encodings' patterns would match at s[i].
// The alternatives of a pattern are tried in order and the first that matches
// wins, however short. Neither pattern can fail: every character is in one of
// the classes letter, number, space and other.
//
// No scanner looks at a character more than a few times over the whole text:
// where it looks ahead of the piece it returns, the next piece ends where the
// look ended.

// cl100k is the pattern of cl100k_base:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)
//	[^\r\n\p{L}\p{N}]?\p{L}+
//	\p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n]*
//	\s*[\r\n]+
//	\s+(?!\S)
//	\s+
func (c *classes) cl100k(s string, i int) int {
	k, j := c.at(s, i)
	switch {
	case k&letter != 0:
		return c.run(s, j, letter)
	case k&number != 0:
		return c.digits(s, j)
	case k&newline != 0:
		return c.blank(s, i)
	}
	if s[i] == '\'' {
		if end := contraction(s, j); end > 0 {
			return end
		}
	}
	if j < len(s) {
		next, end := c.at(s, j)
		if next&letter != 0 {
			return c.run(s, end, letter)
		}
		if s[i] == ' ' && next&other != 0 {
			k, j = next, end
		}
	}
	if k&other != 0 {
		return c.run(s, c.run(s, j, other), newline)
	}
	return c.blank(s, i)
}

// o200k is the pattern of o200k_base, where U stands for
// \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M} and L for \p{Ll}\p{Lm}\p{Lo}\p{M}:
//
//	[^\r\n\p{L}\p{N}]?[U]*[L]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	[^\r\n\p{L}\p{N}]?[U]+[L]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//	\p{N}{1,3}
//	 ?[^\s\p{L}\p{N}]+[\r\n/]*
//	\s*[\r\n]+
//	\s+(?!\S)
//	\s+
func (c *classes) o200k(s string, i int) int {
	k, j := c.at(s, i)
	switch {
	case k&letter != 0:
		end, _ := c.word(s, i)
		return suffixed(s, end)
	case k&number != 0:
		return c.digits(s, j)
	case k&newline != 0:
		return c.blank(s, i)
	}
	if end, ok := c.word(s, j); ok {
		return suffixed(s, end)
	} else if k&upper != 0 {
		// A mark: the first alternative matches it as a word of its own, which
		// comes before the second one with the mark as a prefix.
		end, _ = c.word(s, i)
		return suffixed(s, end)
	} else if end > j {
		return suffixed(s, end)
	}
	if s[i] == ' ' && j < len(s) {
		if next, end := c.at(s, j); next&other != 0 {
			k, j = next, end
		}
	}
	if k&other != 0 {
		for j = c.run(s, j, other); j < len(s) && (s[j] == '\r' || s[j] == '\n' || s[j] == '/'); {
			j++
		}
		return j
	}
	return c.blank(s, i)
}

// word matches [U]*[L]+ or, failing that, [U]+[L]* at s[i], and reports whether
// it was the first. The end is i if neither matches.
func (c *classes) word(s string, i int) (end int, first bool) {
	both := -1 // where the last character that is in U and L ends
	for i < len(s) {
		k, j := c.at(s, i)
		if k&upper == 0 {
			if k&lower == 0 {
				break
			}
			return c.run(s, j, lower), true
		}
		if k&lower != 0 {
			both = j
		}
		i = j
	}
	// [U]* took all there was, so it gives characters back until [L]+ has one.
	if both >= 0 {
		return both, true
	}
	return i, false
}

// suffixed matches (?i:'s|'t|'re|'ve|'m|'ll|'d)? at s[i].
func suffixed(s string, i int) int {
	if i < len(s) && s[i] == '\'' {
		if end := contraction(s, i+1); end > 0 {
			return end
		}
	}
	return i
}

// contraction returns where the letters of a contraction end whose apostrophe
// is before s[i], or 0. Case folds as Unicode has it: the long s is an s.
func contraction(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	second := byte(0)
	if i+1 < len(s) {
		second = s[i+1]
	}
	switch s[i] | 0x20 {
	case 's', 't', 'm', 'd':
		return i + 1
	case 'r', 'v':
		if second|0x20 == 'e' {
			return i + 2
		}
	case 'l':
		if second|0x20 == 'l' {
			return i + 2
		}
	}
	if s[i] == 0xc5 && second == 0xbf { // U+017F
		return i + 2
	}
	return 0
}

// digits matches the rest of \p{N}{1,3}, whose first character ends at s[i].
func (c *classes) digits(s string, i int) int {
	for range 2 {
		if i == len(s) {
			break
		}
		k, end := c.at(s, i)
		if k&number == 0 {
			break
		}
		i = end
	}
	return i
}

// blank matches \s*[\r\n]+, \s+(?!\S) or \s+ at s[i], which is a space. Of a
// run of whitespace that is everything to its last newline; without one, all
// but the last character, which belongs to the word behind it; or just that.
func (c *classes) blank(s string, i int) int {
	end, last, afterNewline := i, i, 0
	for end < len(s) {
		k, j := c.at(s, end)
		if k&space == 0 {
			break
		}
		if k&newline != 0 {
			afterNewline = j
		}
		end, last = j, end
	}
	switch {
	case afterNewline > 0:
		return afterNewline
	case end < len(s) && last > i:
		return last
	}
	return end
}
