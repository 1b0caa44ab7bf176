package office

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// inflaters have been used by other parts: one takes 40 kB.
var inflaters = sync.Pool{New: func() any { return &inflater{unpack: flate.NewReader(nil)} }}

// inflater unpacks a part from where it stands in the document, without the buffer
// between them that archive/zip needs.
type inflater struct {
	packed bytes.Reader
	unpack io.ReadCloser
}

// inflate is the zip.Decompressor of the archive that the job is about.
func (j *Job) inflate(r io.Reader) io.ReadCloser {
	f := inflaters.Get().(*inflater)
	if part, ok := r.(*io.SectionReader); ok {
		_, at, size := part.Outer()
		rest := j.In.Data[min(max(at, 0), int64(len(j.In.Data))):]
		f.packed.Reset(rest[:min(max(size, 0), int64(len(rest)))])
		r = &f.packed
	}
	// Without a dictionary there is nothing that it could refuse.
	_ = f.unpack.(flate.Resetter).Reset(r, nil)
	return &inflated{f}
}

// inflated is a part that is being unpacked.
type inflated struct{ *inflater }

func (p *inflated) Read(b []byte) (int, error) {
	if p.inflater == nil {
		return 0, io.ErrClosedPipe
	}
	return p.unpack.Read(b)
}

func (p *inflated) Close() error {
	if p.inflater != nil {
		p.packed.Reset(nil)
		inflaters.Put(p.inflater)
		p.inflater = nil
	}
	return nil
}
