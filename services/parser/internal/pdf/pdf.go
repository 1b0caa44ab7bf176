// Package pdf reads PDF files: pdfium, compiled to WebAssembly and run by
// wazero, says which characters stand where in which font; this package turns
// that into text in reading order, with headings, lists and tables.
//
//	layer      layers that are off: out
//	extract    pdfium's characters -> words with places and fonts, ruling lines
//	raised     digits above the line: powers
//	rtl        Arabic and Hebrew: by place, not by the order of drawing
//	tags       what the file itself says is a heading; figure: alternative texts
//	annotation values of form fields (field), typed text, remarks
//	attachment embedded files, each read as a document of its own (associated:
//	           those in no list)
//	xfa        the data of forms whose pages are XML
//	unreadable scans, and fonts without Unicode: warned of, or refused
//	furniture  running titles and page numbers, by evidence: out (excerpt: of one page)
//	layout     words -> segments (stretched: justified lines) -> columns
//	           (sidebyside: short ones) -> lines
//	table      ruled grids, and rows of segments that align
//	block      lines -> paragraphs, list items, code
//	heading    fonts against the body's, tags, the outline -> levels
//	markdown   everything -> Markdown, page marks
//
// The sandbox has no files and a bounded memory, and each document gets a fresh
// instance: after a trap nothing of the old one is used again. What a sandbox
// cannot bound is time: pdfium may work on one page for minutes, and only
// between pages is the context looked at. Documents that are not trusted belong
// in package isolate's child processes.
package pdf

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/klippa-app/go-pdfium"
	pdfiumerrors "github.com/klippa-app/go-pdfium/errors"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// Config configures a Reader. Zero values mean the defaults.
type Config struct {
	// CacheDir keeps pdfium as machine code (about 21 MB), so that only the
	// first process on a machine compiles it (3.5 s, then 0.13 s). Default:
	// "sluice/wazero" in the user's cache folder; without a writable one every
	// process compiles for itself.
	CacheDir string
	// Memory bounds what pdfium may use for one document, in bytes. Default 256 MiB.
	Memory int64
	// Documents is how many may be read at the same time. Default 4.
	Documents int
}

// Reader reads PDF files. It is safe for concurrent use.
type Reader struct {
	cfg   Config
	mu    sync.Mutex
	cache wazero.CompilationCache
	pool  pdfium.Pool // nil before the first document
}

const wasmPage = 64 << 10

// New returns a Reader. It compiles nothing yet: that happens at the first Read
// or Warm. An error means that the given CacheDir cannot be used.
func New(cfg Config) (*Reader, error) {
	if cfg.Memory <= 0 {
		cfg.Memory = 256 << 20
	}
	if cfg.Documents <= 0 {
		cfg.Documents = 4
	}
	r := &Reader{cfg: cfg}
	if cfg.CacheDir != "" {
		var err error
		if r.cache, err = wazero.NewCompilationCacheWithDir(cfg.CacheDir); err != nil {
			return nil, fault.Wrap(err, fault.Halt, "cache-dir", "cannot keep compiled code in %s", cfg.CacheDir).
				WithHint("name a folder that can be written")
		}
		return r, nil
	}
	if dir, err := os.UserCacheDir(); err == nil {
		// Best effort: without a cache it is slower, not wrong.
		if c, err := wazero.NewCompilationCacheWithDir(filepath.Join(dir, "sluice", "wazero")); err == nil {
			r.cache = c
		}
	}
	return r, nil
}

// Warm compiles pdfium, or loads it from the cache, so that the first document
// need not wait. Building an image calls it to fill the cache.
func (r *Reader) Warm() error {
	_, err := r.instances()
	return err
}

// Close releases the compiled code. No Read may be running.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if r.pool != nil {
		errs = append(errs, r.pool.Close())
		r.pool = nil
	}
	if r.cache != nil {
		errs = append(errs, r.cache.Close(context.Background()))
		r.cache = nil
	}
	return errors.Join(errs...)
}

func (r *Reader) instances() (pdfium.Pool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pool != nil {
		return r.pool, nil
	}
	pool, err := r.compile()
	if err != nil && r.elsewhere() {
		pool, err = r.compile()
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "pdfium", "cannot compile pdfium")
	}
	r.pool = pool
	return pool, nil
}

// elsewhere moves a cache that was given, and cannot be used, to the folder of
// temporary files: the cache of an image is read-only where its root is, and
// lacks what a processor of another kind needs.
func (r *Reader) elsewhere() bool {
	if r.cfg.CacheDir == "" {
		return false
	}
	c, err := wazero.NewCompilationCacheWithDir(filepath.Join(os.TempDir(), "sluice-wazero"))
	if err != nil {
		return false
	}
	_ = r.cache.Close(context.Background()) // nothing was compiled with it
	r.cache = c
	return true
}

func (r *Reader) compile() (pdfium.Pool, error) {
	runtime := wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling).
		WithMemoryLimitPages(uint32(min(r.cfg.Memory/wasmPage, 1<<16)))
	if r.cache != nil {
		runtime = runtime.WithCompilationCache(r.cache)
	}
	return webassembly.Init(webassembly.Config{
		MaxIdle:  1,
		MaxTotal: r.cfg.Documents,
		// An empty one: the default is the host's whole file system.
		FSConfig:      wazero.NewFSConfig(),
		RuntimeConfig: runtime,
		Stdout:        io.Discard,
		Stderr:        io.Discard,
	})
}

// Read reads a PDF file. It is a format.Reader: besides the errors named there,
// a memory limit that pdfium runs into is "too-large".
func (r *Reader) Read(ctx context.Context, in format.Input) (*format.Output, error) {
	if in.Limits.Time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, in.Limits.Time)
		defer cancel()
	}
	if len(in.Data) == 0 {
		return nil, fault.Invalid("empty", "%s: the file is empty", in.Name)
	}
	if in.Limits.Input > 0 && int64(len(in.Data)) > in.Limits.Input {
		return nil, fault.Invalid("too-large", "%s: %d bytes, the limit is %d", in.Name, len(in.Data), in.Limits.Input)
	}
	pool, err := r.instances()
	if err != nil {
		return nil, err
	}
	f, err := open(ctx, pool, in)
	if err != nil {
		return nil, err
	}
	defer f.close()

	d := &document{}
	if err := f.hideLayers(ctx, d); err != nil {
		return nil, stopped(errors.Join(err, ctx.Err()), in.Name, 0, f.pages)
	}
	pages := f.pages
	facts := f.facts()
	facts.Pages = pages
	for i := range pages {
		if err := ctx.Err(); err != nil {
			return nil, stopped(err, in.Name, i, pages)
		}
		p, err := f.page(ctx, d, i)
		if err != nil {
			if errors.Is(err, format.ErrSpent) {
				return nil, err
			}
			if errors.Is(err, errGivenUp) || ctx.Err() != nil {
				return nil, stopped(errors.Join(err, ctx.Err()), in.Name, i, pages)
			}
			d.warnings = append(d.warnings, fmt.Sprintf("page %d cannot be read: %s", i+1, brief(err)))
			if d.broken == "" {
				d.broken = d.warnings[len(d.warnings)-1]
			}
			p = &page{number: i + 1}
		}
		d.pages = append(d.pages, p)
	}
	d.outline = f.outline()
	form, err := f.xfa(d)
	if err != nil {
		return nil, err
	}
	if err := f.attachments(ctx, d); err != nil {
		return nil, err
	}
	f.close() // attached files may need what it holds
	attached, err := d.convertAttached(ctx, in)
	if err != nil {
		return nil, err
	}

	if refusal := d.refusal(in.Name); refusal != nil {
		if form == "" && attached.Len() == 0 {
			return nil, refusal
		}
		if form == "" && refusal.Reason != "empty" {
			d.warnings = append(d.warnings, refusal.Message)
		}
	}
	markdown, marks, err := d.markdown(ctx)
	if err != nil {
		return nil, stopped(err, in.Name, pages, pages)
	}
	markdown = form + d.writeRemarks(markdown)
	offsets := make([]int, len(marks))
	for i := range marks {
		offsets[i] = marks[i].Offset + len(form)
	}
	markdown = attached.Own(markdown, offsets)
	for i := range marks {
		marks[i].Offset = offsets[i]
	}
	if attached.Len() > 0 {
		markdown += "\n"
	}
	out := attached.Output(markdown)
	if len(marks) > 0 && attached.Len() > 0 && (len(out.Pages) == 0 || out.Pages[0].Offset > len(markdown)) {
		marks = append(marks, events.PageMark{Offset: len(markdown)}) // what follows is on no page of this file
	}
	out.Pages, out.Facts, out.Warnings = append(marks, out.Pages...), facts, append(d.warnings, out.Warnings...)
	if in.Limits.Output > 0 && int64(len(out.Markdown)) > in.Limits.Output {
		return nil, fault.Invalid("too-large", "%s: gives %d bytes of Markdown, the limit is %d", in.Name, len(out.Markdown), in.Limits.Output)
	}
	return out, nil
}

// refusal returns why the pages of a document are not worth reading, or nil.
func (d *document) refusal(name string) *fault.Error {
	words, pictures := 0, 0
	for _, p := range d.pages {
		words += p.said()
		pictures += p.pictures
	}
	if words == 0 && pictures == 0 && d.broken != "" {
		return fault.Invalid("corrupt", "%s: no page of %d can be read: %s", name, len(d.pages), d.broken).
			WithHint("open it with a viewer and save it again")
	}
	err := d.unreadable()
	if err != nil {
		err.Message = name + ": " + err.Message
	}
	return err
}

// document is what is known of a file before it becomes Markdown.
type document struct {
	pages    []*page
	fonts    []font
	fontIDs  map[fontKey]uint16
	outline  []outlineEntry
	remarks  [][]remark // what is said about a place, with the replies
	warnings []string
	broken   string // the warning of the first page that cannot be read

	attached     []attachment
	attachedSums map[[sha256.Size]byte]bool
	attachedSize int64
}

func stopped(err error, name string, done, pages int) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Invalid("timeout", "%s: read %d of %d pages in the time allowed", name, done, pages).
			WithHint("raise the time limit, or split the document")
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Unavailable, "interrupted", "%s: not converted", name)
	default:
		return fault.Invalid("corrupt", "%s: too many pages that crash pdfium, the last is %d of %d", name, done+1, pages)
	}
}

// openFailure classifies what pdfium says about a file it does not open.
func openFailure(err error, in format.Input) error {
	switch {
	case errors.Is(err, pdfiumerrors.ErrPassword), errors.Is(err, pdfiumerrors.ErrSecurity):
		return fault.Invalid("encrypted", "%s: the file is encrypted with a password", in.Name).
			WithHint("remove the password and submit it again")
	case errors.Is(err, pdfiumerrors.ErrFormat), errors.Is(err, pdfiumerrors.ErrPage), errors.Is(err, pdfiumerrors.ErrFile):
		return fault.Invalid("corrupt", "%s: not a PDF file, or a damaged one", in.Name).
			WithHint("open it with a viewer and save it again")
	case outOfMemory(err):
		return fault.Wrap(err, fault.Validation, "too-large", "%s: needs more memory to read than allowed", in.Name)
	default:
		return fault.Wrap(err, fault.Validation, "corrupt", "%s: pdfium cannot open it", in.Name)
	}
}

// outOfMemory recognises the traps that end a module which got no memory.
func outOfMemory(err error) bool {
	return err != nil && strings.Contains(err.Error(), "memory")
}

// file is an open PDF file in its own pdfium instance.
type file struct {
	pool      pdfium.Pool
	in        format.Input
	instance  pdfium.Pdfium
	doc       docRef
	pages     int
	traps     int
	objects   int             // page objects looked at, over all pages
	annots    int             // annotations looked at, over all pages
	widgets   int             // of those, fields of forms that show something
	annotText int             // bytes of what they say
	seen      [1 << 10]uint64 // a bit for each character that has come

	layersOff  bool // of this file: see hideLayers
	associated bool // it may have files that are in no list: see listAssociated
	layered    int  // objects whose layer was asked for
	tagged     int  // 1: the file has a structure tree, -1: it has none; 0 = not known

	formRef         references.FPDF_FORMHANDLE
	formAsked       bool
	needAppearances bool // appearances of fields are not what viewers show
}

// errAnnotations marks what failed besides the content of a page.
var errAnnotations = errors.New("its annotations")

// errGivenUp ends a document whose pages crash pdfium again and again.
var errGivenUp = errors.New("pdfium crashed too often")

const maxTraps = 5

// needAppearances finds the entry by which a form says that viewers have to draw
// its values anew. In a compressed catalog it is not found; values without an
// appearance are read either way.
var needAppearances = regexp.MustCompile(`/NeedAppearances\s+true`)

func open(ctx context.Context, pool pdfium.Pool, in format.Input) (*file, error) {
	f := &file{pool: pool, in: in, needAppearances: needAppearances.Match(in.Data)}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	n, err := f.instance.FPDF_GetPageCount(&requests.FPDF_GetPageCount{Document: f.doc})
	if err != nil {
		f.close()
		return nil, fault.Wrap(err, fault.Validation, "corrupt", "%s: cannot count its pages", in.Name)
	}
	f.pages = n.PageCount
	switch {
	case f.pages <= 0:
		f.close()
		return nil, fault.Invalid("empty", "%s: the file has no pages", in.Name)
	case in.Limits.Pages > 0 && f.pages > in.Limits.Pages:
		f.close()
		return nil, fault.Invalid("too-large", "%s: %d pages, the limit is %d", in.Name, f.pages, in.Limits.Pages).
			WithHint("raise the limit of pages, or split the document")
	}
	return f, nil
}

// load opens the file in a fresh instance.
func (f *file) load(ctx context.Context) error {
	instance, err := f.pool.GetInstanceWithContext(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return stopped(ctx.Err(), f.in.Name, 0, f.pages)
		}
		return fault.Wrap(err, fault.Unavailable, "pdfium", "%s: cannot start pdfium", f.in.Name)
	}
	doc, err := instance.OpenDocument(&requests.OpenDocument{File: &f.in.Data})
	if err != nil {
		// The failure to open is the news; an instance that trapped cannot be
		// closed in good order.
		_ = instance.Close()
		return openFailure(err, f.in)
	}
	f.instance, f.doc = instance, doc.Document
	return nil
}

func (f *file) close() {
	if f.instance != nil {
		f.closeForm()
		// It is thrown away with all its memory either way.
		_ = f.instance.Close()
		f.instance = nil
	}
}

// page extracts page i (from 0). If pdfium traps on it, later pages get a fresh
// instance; if its annotations were the cause, it is read without them.
func (f *file) page(ctx context.Context, d *document, i int) (*page, error) {
	p, err := f.extract(d, i, true)
	if err == nil || !trapped(err) {
		return p, err
	}
	if e := f.restart(ctx); e != nil {
		return nil, e
	}
	if !errors.Is(err, errAnnotations) {
		return nil, err
	}
	d.warnings = append(d.warnings, fmt.Sprintf("page %d: its form fields and annotations cannot be read", i+1))
	if p, err = f.extract(d, i, false); err != nil && trapped(err) {
		if e := f.restart(ctx); e != nil {
			return nil, e
		}
	}
	return p, err
}

// restart opens the file in another instance after a crash.
func (f *file) restart(ctx context.Context) error {
	f.close()
	if f.traps++; f.traps > maxTraps {
		return errGivenUp
	}
	if f.load(ctx) != nil {
		return errGivenUp
	}
	return nil
}

// meaningful drops what programs write when nobody gave a title or author.
func meaningful(s string) string {
	switch strings.ToLower(strings.Trim(s, "()")) {
	case "anonymous", "untitled", "unspecified", "unknown", "none":
		return ""
	}
	return s
}

// trapped reports whether err came from the WebAssembly machine and not from
// pdfium: only then is the instance unusable.
func trapped(err error) bool {
	s := err.Error()
	return strings.Contains(s, "wasm error") || strings.Contains(s, "panic occurred") || strings.Contains(s, "module closed")
}

// brief returns err without the stack of a trap. pdfium traps on purpose when it
// gets no more memory.
func brief(err error) string {
	if trapped(err) {
		return "pdfium crashed on it, or needs more memory than allowed"
	}
	return err.Error()
}

func (f *file) facts() events.Facts {
	facts := events.Facts{Type: "application/pdf"}
	if r, err := f.instance.GetMetaData(&requests.GetMetaData{Document: f.doc}); err == nil {
		for _, t := range r.Tags {
			v := strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(t.Value, "\x00", ""), ""))
			switch t.Tag {
			case "Title":
				facts.Title = meaningful(v)
			case "Author":
				facts.Author = meaningful(v)
			case "CreationDate":
				facts.Created = date(v)
			case "ModDate":
				facts.Modified = date(v)
			}
		}
	}
	if r, err := f.instance.FPDFCatalog_GetLanguage(&requests.FPDFCatalog_GetLanguage{Document: f.doc}); err == nil {
		facts.Language = strings.TrimSpace(r.Language)
	}
	return facts
}
