package data

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/web"
)

// notebook is a Jupyter notebook, format 3 or 4
// (https://nbformat.readthedocs.io/en/latest/format_description.html).
type notebook struct {
	Metadata struct {
		Title      string `json:"title"`
		Authors    []struct{ Name string }
		Kernelspec struct {
			Language string `json:"language"`
		} `json:"kernelspec"`
		LanguageInfo struct {
			Name string `json:"name"`
		} `json:"language_info"`
	} `json:"metadata"`
	Cells      []notebookCell `json:"cells"`
	Worksheets []struct {
		Cells []notebookCell `json:"cells"`
	} `json:"worksheets"`
}

type notebookCell struct {
	Type     string           `json:"cell_type"`
	Level    int              `json:"level"` // of headings, format 3
	Source   multiline        `json:"source"`
	Input    multiline        `json:"input"` // format 3
	Language string           `json:"language"`
	Outputs  []notebookOutput `json:"outputs"`
}

type notebookOutput struct {
	Type      string                     `json:"output_type"`
	Text      multiline                  `json:"text"`
	Data      map[string]json.RawMessage `json:"data"`
	Name      string                     `json:"ename"`
	Value     string                     `json:"evalue"`
	Traceback []string                   `json:"traceback"`
	HTML      multiline                  `json:"html"` // format 3
}

// multiline is text that may be written as a list of lines.
type multiline string

// UnmarshalJSON reads a string or a list of strings. Anything else is no text.
func (m *multiline) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var lines []json.RawMessage
		if err := json.Unmarshal(b, &lines); err != nil {
			return err
		}
		var text strings.Builder
		for _, raw := range lines {
			var line multiline
			if len(raw) > 0 && raw[0] == '"' {
				if err := line.UnmarshalJSON(raw); err != nil {
					return err
				}
			}
			text.WriteString(string(line))
		}
		*m = multiline(text.String())
		return nil
	}
	var s string
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	*m = multiline(s)
	return nil
}

// Notebook reads a Jupyter notebook: its Markdown as it is, its code fenced,
// and what the code printed fenced below it. Pictures are left out.
func Notebook(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, "")
	if err != nil {
		return nil, err
	}
	var nb notebook
	if err := json.Unmarshal([]byte(src), &nb); err != nil {
		return nil, format.Corrupt(err, format.NameOf(in), "it is not a Jupyter notebook")
	}
	lang := nb.Metadata.LanguageInfo.Name
	if lang == "" {
		lang = nb.Metadata.Kernelspec.Language
	}
	if lang == "" {
		lang = "python"
	}
	cells := nb.Cells
	for _, s := range nb.Worksheets {
		cells = append(cells, s.Cells...)
	}
	limit := format.OutputLimit(in.Limits.Output)
	var b strings.Builder
	add := func(s string) {
		if s = strings.Trim(s, "\n"); strings.TrimSpace(s) != "" {
			b.WriteString(s)
			b.WriteString("\n\n")
		}
	}
	pictures := 0
	for _, c := range cells {
		if ctx.Err() != nil {
			return nil, format.Ended(ctx, format.NameOf(in))
		}
		if int64(b.Len()) > limit {
			return nil, format.TooLarge(format.NameOf(in), limit)
		}
		source := string(c.Source)
		switch c.Type {
		case "code":
			if source == "" {
				source = string(c.Input)
			}
			if strings.TrimSpace(source) != "" {
				cellLang := lang
				if c.Language != "" {
					cellLang = c.Language
				}
				add(md.Fence(strings.ToLower(cellLang), source))
			}
			for _, o := range c.Outputs {
				text, picture, err := o.markdown(ctx, in, func(w string) { warnings = append(warnings, w) })
				if err != nil {
					return nil, err
				}
				if picture {
					pictures++
				}
				add(text)
			}
		case "heading":
			add(md.Heading(c.Level, source))
		default: // markdown, raw
			add(source)
		}
	}
	if pictures > 0 {
		warnings = append(warnings, fmt.Sprintf("%s: %d pictures among the outputs are left out", format.NameOf(in), pictures))
	}
	out := &format.Output{Markdown: b.String(), Warnings: warnings}
	out.Facts.Title = nb.Metadata.Title
	if out.Facts.Title == "" {
		out.Facts.Title = format.FirstHeading(b.String())
	}
	if len(nb.Metadata.Authors) > 0 {
		out.Facts.Author = nb.Metadata.Authors[0].Name
	}
	return out, nil
}

// ansi finds the escape sequences that colour tracebacks.
var ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// markdown returns what code printed or returned, in the richest form that is
// text, and whether there was nothing but a picture.
func (o *notebookOutput) markdown(ctx context.Context, in format.Input, warn func(string)) (text string, picture bool, err error) {
	fence := func(s string) string {
		if s = ansi.ReplaceAllString(s, ""); strings.TrimSpace(s) == "" {
			return ""
		}
		return md.Fence("", strings.TrimRight(s, " \t\r\n"))
	}
	if len(o.Traceback) > 0 || o.Name != "" {
		s := strings.Join(o.Traceback, "\n")
		if s == "" {
			s = o.Name + ": " + o.Value
		}
		return fence(s), false, nil
	}
	data := func(kind string) string {
		var m multiline
		if m.UnmarshalJSON(o.Data[kind]) != nil {
			return ""
		}
		return string(m)
	}
	if s := data("text/markdown"); s != "" {
		return s, false, nil
	}
	html := data("text/html")
	if html == "" {
		html = string(o.HTML)
	}
	// A data frame prints itself as a table; other HTML is mostly widgets.
	if strings.Contains(html, "<table") {
		s, err := web.ToMarkdown(ctx, []byte(html), web.Options{Name: format.NameOf(in), Charset: "utf-8", Limit: in.Limits.Output, Whole: true, Warn: warn})
		return s, false, err
	}
	if s := data("text/plain"); s != "" && (len(o.Data) == 1 || !o.hasPicture()) {
		return fence(s), false, nil
	}
	if o.Text != "" {
		return fence(string(o.Text)), false, nil
	}
	if s := data("text/latex"); s != "" {
		return s, false, nil
	}
	return "", o.hasPicture(), nil
}

func (o *notebookOutput) hasPicture() bool {
	for kind := range o.Data {
		if strings.HasPrefix(kind, "image/") {
			return true
		}
	}
	return false
}
