package token

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"sync"
	"unicode/utf8"
)

// class says which of the patterns' character classes a character is in. The
// bits are those that internal/gen/classes.mjs writes.
type class uint8

const (
	upper   class = 1 << iota // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
	lower                     // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
	letter                    // \p{L}
	number                    // \p{N}
	space                     // \s
	newline                   // [\r\n]
	other                     // [^\s\p{L}\p{N}]
)

// classes maps every code point to its class, by way of 256-character leaves
// that many pages share. 22 kB, of which European text touches a fraction.
type classes struct {
	ascii  [utf8.RuneSelf]class
	pages  [(utf8.MaxRune + 1) >> 8]uint8
	leaves [][256]class
}

//go:embed data/unicode16.classes
var unicode16Runs string

var unicode16 = sync.OnceValues(func() (*classes, error) { return newClasses(unicode16Runs) })

var errRuns = errors.New("the runs do not cover the code points once")

// newClasses expands runs of (unsigned varint length, class byte).
func newClasses(runs string) (*classes, error) {
	c := new(classes)
	seen := make(map[[256]class]uint8)
	var leaf [256]class
	var at int
	for data := []byte(runs); len(data) > 0; {
		length, n := binary.Uvarint(data)
		if n <= 0 || n == len(data) || length > uint64(utf8.MaxRune+1-at) {
			return nil, errRuns
		}
		k := class(data[n])
		data = data[n+1:]
		for range length {
			leaf[at&0xff] = k
			at++
			if at&0xff != 0 {
				continue
			}
			page, ok := seen[leaf]
			if !ok {
				page = uint8(len(c.leaves))
				if int(page) != len(c.leaves) {
					return nil, errors.New("more distinct pages than a byte can number")
				}
				seen[leaf] = page
				c.leaves = append(c.leaves, leaf)
			}
			c.pages[(at-1)>>8] = page
		}
	}
	if at != utf8.MaxRune+1 {
		return nil, errRuns
	}
	copy(c.ascii[:], c.leaves[0][:])
	return c, nil
}

// at returns the class of the character at s[i] and where it ends.
func (c *classes) at(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return c.ascii[b], i + 1
	}
	return c.wide(s, i)
}

func (c *classes) wide(s string, i int) (class, int) {
	r, n := utf8.DecodeRuneInString(s[i:])
	return c.leaves[c.pages[r>>8]][r&0xff], i + n
}

// run returns where the characters from s[i] on stop being in one of the
// classes of mask.
func (c *classes) run(s string, i int, mask class) int {
	for i < len(s) {
		if b := s[i]; b < utf8.RuneSelf {
			if c.ascii[b]&mask == 0 {
				break
			}
			i++
			continue
		}
		k, end := c.wide(s, i)
		if k&mask == 0 {
			break
		}
		i = end
	}
	return i
}
