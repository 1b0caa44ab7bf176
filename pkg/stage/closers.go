package stage

import "errors"

// Closers closes what was opened, the last first.
type Closers []func() error

// Add has f run by Close.
func (c *Closers) Add(f func() error) { *c = append(*c, f) }

// Close runs what was added, once, and returns all errors.
func (c *Closers) Close() (err error) {
	for i := len(*c) - 1; i >= 0; i-- {
		err = errors.Join(err, (*c)[i]())
	}
	*c = nil
	return err
}
