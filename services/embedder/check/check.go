// Package check judges what an embedder returned before anything is paid
// forward: a vector of zeros, of NaN or of another length that reaches the
// index makes its document unfindable without any error to be seen.
package check

import (
	"math"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// The Euclidean length that a vector may have. Providers of unit vectors are
// well inside; what is outside cannot be compared in float32 with any meaning.
const (
	shortest = 1e-6
	longest  = 1e6
)

// Vectors checks out, which is to hold one vector of info.Dimensions for each
// of the inputs.
//
// It returns out with every bad vector replaced by nil and its fault in Errs;
// Errs stays nil if all are good. Faults of a single vector have class
// Unavailable, because another attempt may bring a better one: "no-vector",
// "wrong-dimensions", "not-a-number", "zero-vector", "odd-length".
//
// An error is about the whole call, and the vectors are then no use to anyone:
// Unavailable "bad-response" if the response does not fit the request, Halt
// "wrong-dimensions" if all vectors agree on a size that is not the model's,
// because then every call of this configuration will go the same way.
//
// Money in out (Tokens, Nano) is for the caller to book in either case.
func Vectors(info provider.EmbedderInfo, inputs int, out provider.Embeddings) (provider.Embeddings, error) {
	switch {
	case len(out.Vectors) != inputs:
		return out, badResponse(info, "%d vectors for %d inputs", len(out.Vectors), inputs)
	case out.Errs != nil && len(out.Errs) != inputs:
		return out, badResponse(info, "%d errors for %d inputs", len(out.Errs), inputs)
	case out.Reused != nil && len(out.Reused) != inputs:
		return out, badResponse(info, "%d reuse marks for %d inputs", len(out.Reused), inputs)
	case out.Fallback != nil && len(out.Fallback) != inputs:
		return out, badResponse(info, "%d fallback marks for %d inputs", len(out.Fallback), inputs)
	case out.Tokens < 0 || out.Nano < 0:
		return out, badResponse(info, "%d tokens for %d nano-dollars", out.Tokens, out.Nano)
	}
	if got, same := commonSize(out.Vectors); same && out.Fallback == nil && got != info.Dimensions {
		return out, fault.New(fault.Halt, "wrong-dimensions", "%s: model %s gives %d dimensions, configured are %d",
			info.Service, info.Model, got, info.Dimensions).
			WithHint("set the dimensions to %d or choose the model that is meant; the index keeps them apart by model name", got)
	}

	var errs []error
	vectors := out.Vectors
	for i, v := range out.Vectors {
		var err error
		if out.Errs != nil {
			err = out.Errs[i]
		}
		if err == nil {
			of := info
			if out.Fallback != nil && out.Fallback[i] { // of another model and width
				of.Model, of.Dimensions = out.Model, max(1, len(v))
			}
			err = vector(of, v)
		}
		if err == nil {
			continue
		}
		if errs == nil {
			errs = make([]error, inputs)
			vectors = append([][]float32(nil), out.Vectors...)
		}
		errs[i], vectors[i] = err, nil
	}
	out.Errs, out.Vectors = errs, vectors
	return out, nil
}

// commonSize returns the size of the vectors that are there, if it is one.
func commonSize(vectors [][]float32) (size int, same bool) {
	for _, v := range vectors {
		if len(v) == 0 {
			continue
		}
		if size != 0 && len(v) != size {
			return 0, false
		}
		size = len(v)
	}
	return size, size != 0
}

func vector(info provider.EmbedderInfo, v []float32) error {
	if len(v) == 0 {
		return badVector(info, "no-vector", "no vector and no error came back for the input")
	}
	if len(v) != info.Dimensions {
		return badVector(info, "wrong-dimensions", "a vector has %d dimensions, want %d", len(v), info.Dimensions)
	}
	var sum float64
	for i, x := range v {
		if x-x != 0 { // NaN and both infinities
			return badVector(info, "not-a-number", "component %d of a vector is %v", i, x)
		}
		sum += float64(x) * float64(x)
	}
	switch norm := math.Sqrt(sum); {
	case norm == 0:
		return badVector(info, "zero-vector", "a vector has no component but zeros")
	case norm < shortest || norm > longest:
		return badVector(info, "odd-length", "a vector has length %g, want %g to %g", norm, shortest, longest)
	}
	return nil
}

func badResponse(info provider.EmbedderInfo, format string, args ...any) error {
	return explain(info, "bad-response", format, args...).
		WithHint("the server answers in another form than this client reads: check what is behind the base URL")
}

func badVector(info provider.EmbedderInfo, reason, format string, args ...any) error {
	return explain(info, reason, format, args...).
		WithHint("if it is always the same text, the server cannot embed it: look at the text and at the server's log")
}

func explain(info provider.EmbedderInfo, reason, format string, args ...any) *fault.Error {
	e := fault.New(fault.Unavailable, reason, format, args...)
	e.Message = info.Service + ": model " + info.Model + ": " + e.Message
	return e
}
