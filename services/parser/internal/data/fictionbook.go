package data

import (
	"encoding/xml"
	"strings"

	"sluice/pkg/events"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// fictionFacts reads what a FictionBook says about itself. Its title-info is about
// the text; document-info is about the file.
func fictionFacts(src string, f events.Facts) events.Facts {
	var (
		path    []string
		authors [][]string
		text    strings.Builder
	)
	d := newXMLDecoder(src)
	for {
		tok, err := d.Token()
		if err != nil {
			return f // what is wrong with the file, its reader says
		}
		switch t := tok.(type) {
		case xml.StartElement:
			name := strings.ToLower(t.Name.Local)
			if path = append(path, name); name == "author" {
				authors = append(authors, nil)
			}
			text.Reset()
			for _, a := range t.Attr {
				if name == "date" && a.Name.Local == "value" && len(path) > 1 && path[len(path)-2] == "title-info" {
					f.Created = format.When(a.Value)
				}
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if len(path) == 0 {
				continue
			}
			name, within := path[len(path)-1], ""
			if path = path[:len(path)-1]; len(path) > 0 {
				within = path[len(path)-1]
			}
			value := md.Line(text.String())
			text.Reset()
			switch {
			case name == "title-info":
				var names []string
				for _, a := range authors {
					if len(a) > 0 {
						names = append(names, strings.Join(a, " "))
					}
				}
				f.Author = strings.Join(names, ", ")
				return f
			case value == "":
			case within == "author" && (strings.HasSuffix(name, "-name") || name == "nickname") && len(authors) > 0:
				authors[len(authors)-1] = append(authors[len(authors)-1], value)
			case within != "title-info":
			case name == "book-title":
				f.Title = value
			case name == "lang":
				f.Language = format.Language(value)
			case name == "date" && f.Created == "":
				f.Created = format.When(value)
			}
		}
	}
}
