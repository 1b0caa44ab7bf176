package data

import (
	"context"
	"html"
	"slices"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/web"
)

// feedWriter writes a feed and its entries.
type feedWriter struct {
	ctx   context.Context
	in    format.Input
	limit int64
	out   *format.Output
	b     strings.Builder
}

// markdown returns a text of an entry.
func (w *feedWriter) markdown(e *feedEntry, t feedText) (string, error) {
	if strings.TrimSpace(t.text) == "" {
		return "", nil
	}
	if !t.html {
		// An entity in it was escaped twice, as many programs do.
		return strings.TrimSpace(md.Escape(html.UnescapeString(t.text))), nil
	}
	if !strings.ContainsAny(t.text, "<&") {
		return md.Escape(md.Line(t.text)), nil
	}
	base := e.base
	if e.link != "" {
		base = e.resolve(e.link)
	}
	return web.ToMarkdown(w.ctx, []byte(t.text), web.Options{
		Name: format.NameOf(w.in), Charset: "utf-8", BaseURL: base, Limit: w.limit, Whole: true,
		Warn: func(s string) { w.out.Warnings = append(w.out.Warnings, s) },
	})
}

// write writes a feed (level 1) or an entry of it (level 2).
func (w *feedWriter) write(level int, e *feedEntry) error {
	if e.link == "" {
		e.link = e.guid
	}
	link := web.UnwrapTracker(e.resolve(e.link))
	title, err := w.markdown(e, e.title)
	if err != nil {
		return err
	}
	title = md.Line(title)
	if title == "" && level > 1 {
		title = md.EscapeInline(link)
	}
	put := func(s string) {
		if s != "" {
			w.b.WriteString(s + "\n\n")
		}
	}
	put(md.Heading(level, title))
	var about []string
	if e.date != "" {
		about = append(about, md.EscapeInline(e.date))
	}
	if e.updated != "" && format.When(e.updated) != format.When(e.date) {
		s := md.EscapeInline(e.updated)
		if e.date != "" {
			s = "updated " + s
		}
		about = append(about, s)
	}
	for _, p := range e.authors() {
		about = append(about, p.String())
	}
	if link != "" {
		about = append(about, md.Link("", link))
	}
	put(strings.Join(about, " · "))
	put(md.Escape(strings.Join(once(e.categories), ", ")))

	var contents, summaries []string
	have := ""
	for i, t := range e.content {
		s, err := w.markdown(e, t)
		if err != nil {
			return err
		}
		if i < mostCompared {
			if have != "" && says(have, s) {
				continue
			}
			have += "\n" + words(s)
		}
		contents = append(contents, s)
	}
	for i, t := range e.summaries {
		s, err := w.markdown(e, t)
		if err != nil {
			return err
		}
		if i < mostCompared {
			s = unsaid(s, have)
			have += "\n" + words(s)
		}
		summaries = append(summaries, s)
	}
	before, body := paragraphs(summaries), paragraphs(contents)
	fields, err := w.fields(e, title, strings.Join(about, " ")+" "+before+" "+body)
	if err != nil {
		return err
	}
	put(fields)
	put(before)
	put(body)
	if int64(w.b.Len()) > w.limit {
		return format.TooLarge(format.NameOf(w.in), w.limit)
	}
	return nil
}

// paragraphs joins what is there of texts.
func paragraphs(texts []string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "\n\n")
}

// fields returns what else an entry says as a list.
func (w *feedWriter) fields(e *feedEntry, title, said string) (string, error) {
	known := map[string]bool{"": true, words(title): true}
	for _, p := range e.authors() {
		known[words(p.name)] = true
	}
	for _, c := range e.categories {
		known[words(c)] = true
	}
	var b strings.Builder
	have := words(said)
	for i, f := range e.fields {
		text, err := w.markdown(e, f.value)
		if err != nil {
			return "", err
		}
		const long = 24 // bytes of words; shorter ones may be in any text
		key := words(text)
		if f.url != "" {
			f.url = web.UnwrapTracker(e.resolve(f.url))
			if known[f.url] || i < mostCompared && strings.Contains(said, md.Destination(f.url)) {
				f.url = ""
			}
		}
		if key != "" && (known[f.label+key] || known[key] || i < mostCompared && len(key) > long && says(have, text)) {
			text, key = "", ""
		}
		if key == "" && f.url == "" {
			continue
		}
		known[f.label+key], known[f.url] = true, true
		if f.label == "Title" {
			known[key] = true
		}
		if f.url != "" {
			if text = md.Link(text, f.url); f.note != "" {
				text += " (" + md.EscapeInline(f.note) + ")"
			}
		}
		b.WriteString(md.Item("-", f.label+": "+text) + "\n")
	}
	return strings.TrimSpace(b.String()), nil
}
