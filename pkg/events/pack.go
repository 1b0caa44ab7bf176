package events

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"

	json "github.com/go-json-experiment/json/v1"
)

// PackBytes bounds the body of a pack. A single chunk may be larger.
const PackBytes = 256 << 10

// Pack is what the chunks of a pack have in common: they are of one revision of a
// document.
type Pack struct {
	V        int      `json:"v"`
	Document string   `json:"document"`
	Revision Revision `json:"revision"`
	Tenant   string   `json:"tenant"`
	Of       int      `json:"of"` // chunks of this revision
	Language string   `json:"language,omitempty"`
	About    *About   `json:"about,omitempty"` // with ordinal 0
}

// Chunks is a pack of chunks. Subject docs.chunks.
type Chunks struct {
	Pack
	Chunks []Chunk `json:"chunks"`
}

// Vectors is a pack of chunks with their embeddings. Subject docs.vectors.
type Vectors struct {
	Pack
	Vectors []Vector `json:"vectors"`
}

// Body is an encoded pack. The key tells the pack apart from all others of its
// revision, however the chunks were divided.
type Body struct {
	Key  string
	Data []byte
}

// PackChunks yields chunks of one revision in packs, as many in each as it holds.
func PackChunks(chunks []Chunk) iter.Seq[Body] {
	return func(yield func(Body) bool) {
		p := packer{name: "chunks", yield: yield}
		for i := range chunks {
			if !p.add(&chunks[i], Encode(&chunks[i]), nil) {
				return
			}
		}
		p.end()
	}
}

// PackVectors yields chunks of one revision with their embeddings in packs, as many
// in each as it holds.
func PackVectors(vectors []Vector) iter.Seq[Body] {
	return func(yield func(Body) bool) {
		p := packer{name: "vectors", yield: yield}
		for i := range vectors {
			v := &vectors[i]
			v.Bytes = len(v.Embedding)
			if !p.add(&v.Chunk, Encode(v), v.Embedding) {
				return
			}
		}
		p.end()
	}
}

// packer fills packs.
type packer struct {
	name  string
	yield func(Body) bool

	head  []byte
	parts [][]byte // the JSON of each chunk
	tails [][]byte // what follows the JSON
	size  int
	first string
}

// add puts a chunk in the pack, or in the next one. It reports whether to go on.
func (p *packer) add(c *Chunk, part, tail []byte) bool {
	more := len(",") + len(part) + len(tail)
	if len(p.parts) > 0 && (c.About != nil || p.size+more > PackBytes) && !p.end() {
		return false
	}
	if len(p.parts) == 0 {
		p.head = Encode(Pack{V: Version, Document: c.Document, Revision: c.Revision, Tenant: c.Tenant, Of: c.Of, Language: c.Language, About: c.About})
		p.head = fmt.Appendf(p.head[:len(p.head)-1], `,"%s":[`, p.name)
		p.size, p.first = len(p.head)+len("]}\n"), c.ID
	}
	p.parts, p.tails = append(p.parts, part), append(p.tails, tail)
	p.size += more
	return true
}

// end yields the pack.
func (p *packer) end() bool {
	if len(p.parts) == 0 {
		return true
	}
	b := Body{Key: p.first + "-" + strconv.Itoa(len(p.parts)), Data: append(make([]byte, 0, p.size), p.head...)}
	for i, part := range p.parts {
		if i > 0 {
			b.Data = append(b.Data, ',')
		}
		b.Data = append(b.Data, part...)
	}
	b.Data = append(b.Data, "]}"...)
	if p.tails[0] != nil {
		b.Data = append(b.Data, '\n')
	}
	for _, tail := range p.tails {
		b.Data = append(b.Data, tail...)
	}
	clear(p.parts)
	clear(p.tails)
	p.parts, p.tails = p.parts[:0], p.tails[:0]
	return p.yield(b)
}

// share gives a chunk what its pack says of it.
func (p *Pack) share(c *Chunk) {
	c.Document, c.Revision, c.Tenant, c.Of, c.Language = p.Document, p.Revision, p.Tenant, p.Of, p.Language
	if c.Ordinal == 0 {
		c.About = p.About
	}
}

func (p *Pack) check(chunks int, at func(int) *Chunk) error {
	if err := checkVersion(p.V); err != nil {
		return err
	}
	if chunks == 0 {
		return malformed("the pack holds no chunk")
	}
	for i := range chunks {
		if err := at(i).check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Chunks) unpack(data []byte) error {
	if err := json.Unmarshal(data, p); err != nil {
		return err
	}
	for i := range p.Chunks {
		p.share(&p.Chunks[i])
	}
	return nil
}

func (p *Chunks) check() error {
	return p.Pack.check(len(p.Chunks), func(i int) *Chunk { return &p.Chunks[i] })
}

func (p *Vectors) unpack(data []byte) error {
	// JSON has no line break of its own, as it is written here.
	head, tail, _ := bytes.Cut(data, []byte{'\n'})
	if err := json.Unmarshal(head, p); err != nil {
		return err
	}
	for i := range p.Vectors {
		v := &p.Vectors[i]
		if v.Bytes < 0 || v.Bytes > len(tail) {
			return fmt.Errorf("the embedding of vector %d has %d bytes, and %d are left", i, v.Bytes, len(tail))
		}
		v.Embedding, tail = tail[:v.Bytes:v.Bytes], tail[v.Bytes:]
		p.share(&v.Chunk)
	}
	if len(tail) > 0 {
		return fmt.Errorf("%d bytes follow the last embedding", len(tail))
	}
	return nil
}

func (p *Vectors) check() error {
	for i := range p.Vectors {
		v := &p.Vectors[i]
		switch {
		case v.Model == "":
			return malformed("field model is missing")
		case len(v.Embedding) == 0 || len(v.Embedding)%4 != 0:
			return malformed("embedding has %d bytes, want a positive multiple of 4", len(v.Embedding))
		}
	}
	return p.Pack.check(len(p.Vectors), func(i int) *Chunk { return &p.Vectors[i].Chunk })
}
