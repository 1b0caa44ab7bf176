// Package formats is the table of the formats of documents: what each is called,
// how it is recognised by its name, who reads it, where, and who is paid for it.
// A new format is a reader and a row here.
package formats

import (
	"context"
	"slices"

	"sluice/services/parser/internal/archive"
	"sluice/services/parser/internal/data"
	"sluice/services/parser/internal/ebook"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/mail"
	"sluice/services/parser/internal/odf"
	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/text"
	"sluice/services/parser/internal/web"
	"sluice/services/parser/internal/xls"
)

// Version is part of the fingerprint of everything parsed here. It changes whenever
// the same bytes would give other Markdown; a test ties it to the golden files.
const Version = "2"

// all is the table, in the order of its rows.
var all []*format.Format

func row(f format.Format) *format.Format {
	all = append(all, &f)
	return &f
}

// The formats that are read.
var (
	PDF = row(format.Format{
		Name: "PDF", Media: "application/pdf", Extensions: []string{".pdf"}, Paid: true,
		Read: func(ctx context.Context, in format.Input) (*format.Output, error) { return in.PDF(ctx, in) },
	})
	DOCX = row(format.Format{
		Name: "Word", Media: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
		Extensions: []string{".docx", ".docm", ".dotx", ".dotm"}, Paid: true, Read: ooxml.DOCX,
	})
	PPTX = row(format.Format{
		Name: "PowerPoint", Media: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
		Extensions: []string{".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"}, Paid: true, Read: ooxml.PPTX,
	})
	XLSX = row(format.Format{
		Name: "Excel", Media: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		Extensions: []string{".xlsx", ".xlsm", ".xltx", ".xltm"}, Paid: true, Read: ooxml.XLSX,
	})
	XLS = row(format.Format{
		Name: "Excel 97 to 2003", Media: "application/vnd.ms-excel", Extensions: []string{".xls", ".xlt"}, Paid: true, Read: xls.XLS,
	})
	ODT = row(format.Format{
		Name: "OpenDocument text", Media: "application/vnd.oasis.opendocument.text", Extensions: []string{".odt", ".ott"}, Paid: true, Read: odf.ODT,
	})
	ODS = row(format.Format{
		Name: "OpenDocument spreadsheet", Media: "application/vnd.oasis.opendocument.spreadsheet", Extensions: []string{".ods", ".ots"}, Paid: true, Read: odf.ODT,
	})
	ODP = row(format.Format{
		Name: "OpenDocument presentation", Media: "application/vnd.oasis.opendocument.presentation", Extensions: []string{".odp", ".otp"}, Paid: true, Read: odf.ODT,
	})
	// FlatODF is OpenDocument of any kind as one XML file.
	FlatODF = row(format.Format{
		Name: "flat OpenDocument", Media: "application/vnd.oasis.opendocument.text-flat-xml",
		Hints: []string{
			"application/vnd.oasis.opendocument.spreadsheet-flat-xml", "application/vnd.oasis.opendocument.presentation-flat-xml",
			"application/vnd.oasis.opendocument.graphics-flat-xml",
		},
		Extensions: []string{".fodt", ".fods", ".fodp", ".fodg"}, Text: true, Read: odf.Flat,
	})
	EPUB = row(format.Format{
		Name: "EPUB", Media: "application/epub+zip", Extensions: []string{".epub"}, Paid: true, Read: ebook.EPUB,
	})
	RTF = row(format.Format{
		Name: "RTF", Media: "application/rtf", Hints: []string{"text/rtf"}, Extensions: []string{".rtf"}, Paid: true, Read: rtf.RTF,
	})
	HTML = row(format.Format{
		Name: "HTML", Media: "text/html", Hints: []string{"application/xhtml+xml"},
		Extensions: []string{".html", ".htm", ".xhtml", ".xht"}, Text: true, Read: web.HTML,
	})
	EML = row(format.Format{
		Name: "e-mail", Media: "message/rfc822", Extensions: []string{".eml", ".mht", ".mhtml"}, Container: true, Read: mail.EML,
	})
	MSG = row(format.Format{
		Name: "Outlook message", Media: "application/vnd.ms-outlook", Extensions: []string{".msg"}, Container: true, Read: mail.MSG,
	})
	Mbox = row(format.Format{
		Name: "mailbox", Media: "application/mbox", Extensions: []string{".mbox", ".mbx"}, Container: true, Read: mail.Mbox,
	})
	TNEF = row(format.Format{
		Name: "winmail.dat of Outlook (TNEF)", Media: "application/ms-tnef", Hints: []string{"application/vnd.ms-tnef"},
		Extensions: []string{".tnef"}, Container: true, Read: mail.TNEF,
	})
	PKCS7 = row(format.Format{
		Name: "signed file (PKCS #7)", Media: "application/pkcs7-mime",
		Hints:      []string{"application/x-pkcs7-mime", "application/pkcs7-signature", "application/x-pkcs7-signature"},
		Extensions: []string{".p7m", ".p7s"}, Container: true, Read: mail.PKCS7,
	})
	Calendar = row(format.Format{
		Name: "calendar", Media: "text/calendar", Hints: []string{"application/ics", "text/x-vcalendar"},
		Extensions: []string{".ics", ".ifb", ".vcs"}, Text: true, Read: mail.Calendar,
	})
	Contacts = row(format.Format{
		Name: "contacts", Media: "text/vcard", Hints: []string{"text/x-vcard", "text/directory"},
		Extensions: []string{".vcf"}, Text: true, Read: mail.Contacts,
	})
	ZIP = row(format.Format{
		Name: "ZIP archive", Media: "application/zip", Extensions: []string{".zip"}, Container: true, Read: archive.ZIP,
	})
	CSV = row(format.Format{
		Name: "CSV", Media: "text/csv", Hints: []string{"text/tab-separated-values", "application/csv"},
		Extensions: []string{".csv", ".tsv", ".tab"}, Text: true, Read: data.CSV,
	})
	JSON = row(format.Format{
		Name: "JSON", Media: "application/json",
		Hints:      []string{"text/json", "application/x-ndjson", "application/jsonl", "application/ld+json", "application/geo+json"},
		Extensions: []string{".json", ".jsonl", ".ndjson", ".geojson", ".har", ".jsonld", ".webmanifest"}, Text: true, Read: data.JSON,
	})
	Notebook = row(format.Format{
		Name: "Jupyter notebook", Media: "application/x-ipynb+json", Extensions: []string{".ipynb"}, Text: true, Read: data.Notebook,
	})
	XML = row(format.Format{
		Name: "XML", Media: "application/xml", Hints: []string{"text/xml"},
		Extensions: []string{
			".xml", ".rdf", ".xsd", ".xsl", ".xslt", ".wsdl", ".kml", ".gpx", ".nxml", ".dita", ".docbook", ".tei", ".opml", ".plist", ".fb2",
		}, Text: true, Read: data.XML,
	})
	Feed = row(format.Format{
		Name: "RSS or Atom feed", Media: "application/rss+xml", Hints: []string{"application/atom+xml"},
		Extensions: []string{".rss", ".atom"}, Text: true, Read: data.Feed,
	})
	Markdown = row(format.Format{
		Name: "Markdown", Media: "text/markdown", Hints: []string{"text/x-markdown"},
		Extensions: []string{".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"}, Text: true, Read: text.Markdown,
	})
	Plain = row(format.Format{
		Name: "plain text", Media: "text/plain",
		Extensions: []string{".txt", ".text", ".log", ".rst", ".adoc", ".org", ".tex"}, Text: true, Read: text.Plain,
	})
	// Program text and settings are text, whatever they begin with.
	Program = row(format.Format{
		Name: "program text", Media: "text/plain", Extensions: text.ProgramExtensions(), Text: true, Read: text.Plain,
	})
)

// The formats that are known and not read here.
var (
	// Encrypted is an Office document behind a password.
	Encrypted = row(format.Format{Name: "encrypted Office document", Media: "application/x-ole-storage", Refusal: format.Refusal{
		Reason: "encrypted", What: "protected by a password", Hint: "save it without a password and submit it again",
	}})
	DOC = row(format.Format{Name: "Word 97 to 2003", Media: "application/msword", Extensions: []string{".doc", ".dot"}, Refusal: refused(
		"a Word document in the format of Word 97 to 2003", "save it as .docx")})
	PPT = row(format.Format{Name: "PowerPoint 97 to 2003", Media: "application/vnd.ms-powerpoint", Extensions: []string{".ppt", ".pps"}, Refusal: refused(
		"a presentation in the format of PowerPoint 97 to 2003", "save it as .pptx")})
	XLSB = row(format.Format{Name: "binary Excel", Media: "application/vnd.ms-excel.sheet.binary.macroenabled.12", Extensions: []string{".xlsb"}, Refusal: refused(
		"a binary Excel workbook (.xlsb)", "save it as .xlsx")})
	IWork = row(format.Format{Name: "iWork", Media: "application/vnd.apple.iwork", Refusal: refused(
		"a document of Pages, Numbers or Keynote", "export it as PDF or in an Office format")})
	PostScript = row(format.Format{Name: "PostScript", Media: "application/postscript", Extensions: []string{".ps"}, Refusal: refused(
		"PostScript", "convert it to PDF")})
	SVG = row(format.Format{Name: "SVG", Media: "image/svg+xml", Extensions: []string{".svg"}, Refusal: refused(
		"an SVG drawing", "submit the document it illustrates")})
	Archive = row(format.Format{
		Name: "other archive", Media: "application/gzip",
		Hints: []string{
			"application/x-7z-compressed", "application/vnd.rar", "application/x-tar", "application/x-xz", "application/x-bzip2", "application/zstd",
			"application/vnd.ms-cab-compressed", "application/lzip", "application/x-cpio",
		},
		Refusal: refused("an archive of a kind that is not unpacked here", "submit its files one by one, or in a ZIP archive"),
	})
	Executable = row(format.Format{
		Name: "program", Media: "application/vnd.microsoft.portable-executable",
		Hints: []string{
			"application/x-elf", "application/x-executable", "application/x-sharedlib", "application/x-mach-binary", "application/wasm",
			"application/x-object", "application/java-archive", "application/x-java-applet",
		},
		Refusal: refused("a program", "submit documents only"),
	})
	Database = row(format.Format{
		Name: "database", Media: "application/vnd.sqlite3",
		Hints:   []string{"application/x-msaccess", "application/vnd.apache.parquet", "application/x-dbf"},
		Refusal: refused("a database", "export its tables as CSV"),
	})
	// Image, Audio, Video and Font are known by the first half of their media types.
	Image = row(format.Format{Name: "image", Media: "image/*", Paid: true, Refusal: refused(
		"an image", "run text recognition (OCR) on it first, or use a parser service that reads images")})
	Audio = row(format.Format{Name: "audio", Media: "audio/*", Refusal: refused("an audio file", "submit its transcript")})
	Video = row(format.Format{Name: "video", Media: "video/*", Refusal: refused("a video file", "submit its transcript")})
	Font  = row(format.Format{Name: "font", Media: "font/*", Refusal: refused("a font", "leave fonts out")})
	// Binary is what nothing is known of.
	Binary = row(format.Format{Name: "binary data", Media: "application/octet-stream", Refusal: refused(
		"binary data of no known format", "check that the file is what its name says")})
	// Unsupported is what has a media type, and no row of its own.
	Unsupported = row(format.Format{Name: "any other", Refusal: refused(
		"a format that is not supported", "convert it to PDF, DOCX, HTML or plain text")})
)

func refused(what, hint string) format.Refusal {
	return format.Refusal{Reason: "unsupported", What: what, Hint: hint}
}

// All returns the rows of the table.
func All() []*format.Format { return slices.Clone(all) }

var byExtension, byMedia = index()

func index() (extensions, media map[string]*format.Format) {
	extensions, media = map[string]*format.Format{}, map[string]*format.Format{}
	for _, f := range all {
		for _, e := range f.Extensions {
			extensions[e] = f
		}
		for _, m := range append([]string{f.Media}, f.Hints...) {
			if media[m] == nil {
				media[m] = f
			}
		}
	}
	return extensions, media
}

// ByExtension returns the format that a file's extension names, with the dot and
// in lower case; nil if none.
func ByExtension(ext string) *format.Format { return byExtension[ext] }

// ByMedia returns the format of a media type; nil if none.
func ByMedia(media string) *format.Format { return byMedia[media] }
