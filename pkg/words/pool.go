package words

import "runtime"

// Pool lends Analyzers, which are dear to make and keep what they have learned of
// the words they met.
type Pool struct{ idle chan *Analyzer }

// NewPool returns a Pool that keeps one Analyzer a processor.
func NewPool() Pool { return Pool{make(chan *Analyzer, runtime.GOMAXPROCS(0))} }

// Lend returns an Analyzer; done takes it back.
func (p Pool) Lend() (a *Analyzer, done func()) {
	select {
	case a = <-p.idle:
	default:
		a = NewAnalyzer()
	}
	return a, func() {
		select {
		case p.idle <- a:
		default:
		}
	}
}
