package pdf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A document of one page has no other page to compare it with. Its running
// lines show from their place, their size and their form: the number of a page,
// what stands beside it, and what a library writes onto a copy. Since nothing
// else says it, what is left out is told in a warning.

var (
	// What was not written with the page.
	stampLine = regexp.MustCompile(`(?i)^(?:this (?:content|article|copy|document|paper) (?:was |is )?(?:downloaded|licensed|protected)|downloaded (?:from|by|on|at|via|for|free|\d)|` +
		`content downloaded|(?:all )?use subject to|authorized licensed use|licensed (?:to|copy)|for personal use only|printed (?:from|on|by) |` +
		`provided by |copyright |©|\(c\) (?:19|20)|all rights reserved|see the terms and conditions|heruntergeladen (?:von|am)|téléchargé (?:sur|depuis|de|le)|descargado (?:de|el))`)
	amount = regexp.MustCompile(`[0-9][.,][0-9]{2}(?:[^0-9]|$)|[€$£¥%]|\b(?:EUR|USD|CHF|GBP|IBAN)\b|[0-9]{7}|\+[0-9]{2}|@`)
)

// removeFromSinglePage takes the running lines from a document of one page. Body is
// the size of most of the text.
func (d *document) removeFromSinglePage(lines []*edgeLine, body float32) {
	p := d.pages[0]
	gone := removal{}
	var told []string
	drop := func(q *piece, tell bool) {
		gone.add(0, q.words)
		if tell {
			told = append(told, q.text)
		}
	}
	left, right := p.textEdges()
	prose := len(p.words) >= 250
	number := 0
	inside := map[bool]bool{} // by side
	for _, l := range lines {
		if inside[l.bottom] {
			continue
		}
		l.outlying = true
		for i := range l.pieces {
			q := &l.pieces[i]
			middle := (q.x0 + q.x1) / 2
			// A receipt has numbers beside words, too: only where there is much to
			// read, or in small letters, are they those of pages.
			likely := prose || l.size < .93*body || len(l.pieces) == 1 && q.number.n < 1000
			placed := abs(middle-p.width/2) < 12 || abs(middle-(left+right)/2) < 12 || q.x0 < left+12 || q.x1 > right-12
			if likely && l.apart(body) && placed && !l.row && !l.labels(i) && q.number.alone() && (i == 0 || i == len(l.pieces)-1) {
				q.counts = true
				number = max(number, q.number.n)
			}
		}
		// Stamps may stand outside of the page's own lines.
		if !slices.ContainsFunc(l.pieces, func(q piece) bool { return q.counts || stampLine.MatchString(q.text) }) {
			inside[l.bottom] = true
		}
	}
	// A page that is not the first was taken out of something: its title may
	// stand at its edges.
	clear(inside)
	for _, l := range lines {
		if inside[l.bottom] {
			continue
		}
		ran := true
		for i := range l.pieces {
			q := &l.pieces[i]
			switch {
			case q.counts && q.masked == "#":
				drop(q, false)
			case stampLine.MatchString(q.text) && l.size <= body && !amount.MatchString(q.text):
				drop(q, true)
			case number > 1 && l.title(q, body):
				drop(q, true)
			default:
				ran = false
			}
		}
		inside[l.bottom] = !ran
	}
	p.asides = slices.DeleteFunc(p.asides, func(words []word) bool {
		text := textOf(words)
		if !stampLine.MatchString(text) || len(text) > 3*edgeText {
			return false
		}
		told = append(told, text)
		return true
	})
	if len(gone[0]) == len(p.words) {
		return // a card, say
	}
	d.take(gone)
	if len(told) > 0 {
		d.warnings = append(d.warnings, fmt.Sprintf("left out as running lines of a page: %s", strings.Join(told, " | ")))
	}
}

// alone reports whether a number can be that of a page without others to
// compare it with. A year is none.
func (n pageNumber) alone() bool {
	switch n.form {
	case bareNumber:
		return n.n < 1900
	case chapter, titled:
		return n.n < 1000
	default:
		return n.form == named
	}
}

// apart reports whether a line is set apart from the text by its distance or its
// size.
func (l *edgeLine) apart(body float32) bool {
	return l.inward > 1.9*max(l.size, .8*body) || l.size < .88*body
}

// title reports whether a piece of the line can be the running title of a page
// that belongs to a larger document.
func (l *edgeLine) title(q *piece, body float32) bool {
	if l.row || !l.apart(body) || len(q.text) > 120 || amount.MatchString(q.text) || !hasLetter(q.text) || numbered.MatchString(q.text) {
		return false
	}
	beside := slices.ContainsFunc(l.pieces, func(q piece) bool { return q.counts })
	small := l.size < .93*body || l.size <= body && allCaps(q.text) && !l.bold
	return beside || small && !endsSentence(q.text)
}

// textEdges returns where the text of the page begins and ends.
func (p *page) textEdges() (left, right float32) {
	left, right = p.width, 0
	for i := range p.words {
		left, right = min(left, p.words[i].x0), max(right, p.words[i].x1)
	}
	return left, right
}
