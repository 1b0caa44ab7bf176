package split

import "context"

// plan returns the cheapest way through the cuts: the indices of those that are
// used, the first and the last included. No chunk between them has more than
// limit tokens, and those that repeat overlap tokens of the chunk before have
// room for them. If two neighbouring cuts are further apart, so is the chunk.
func plan(ctx context.Context, cuts []cut, limit, overlap, small int, w *work) ([]int32, error) {
	n := len(cuts)
	best := append(w.best[:0], make([]int, n)...)
	from := append(w.from[:0], make([]int32, n)...)
	w.best, w.from = best, from
	for j := 1; j < n; j++ {
		if j%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		end := &cuts[j]
		best[j], from[j] = -1, int32(j-1)
		first := uint8(7) // level of the highest heading inside the chunk
		for i := j - 1; i >= 0; i-- {
			start := &cuts[i]
			if int(end.tok-start.tok) > limit {
				break
			}
			tokens := size(start, end)
			room := limit
			if repeats(start) {
				room -= overlap
			}
			if tokens <= room {
				cost := best[i] + chunkCost + int(end.cost)
				if first <= start.deep {
					cost += crossCost
				}
				if tokens < small {
					cost += smallCost
				}
				if best[j] < 0 || cost < best[j] {
					best[j], from[j] = cost, int32(i)
				}
			}
			if start.head != 0 {
				first = min(first, start.head)
			}
		}
		if best[j] < 0 {
			best[j] = best[j-1] + chunkCost + int(end.cost)
		}
	}
	path := w.path[:0]
	for j := int32(n - 1); ; j = from[j] {
		path = append(path, j)
		if j == 0 {
			break
		}
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	w.path = path
	return path, nil
}

// repeats reports whether a chunk that begins at c repeats the end of the one
// before. Where a section begins nothing is torn.
func repeats(c *cut) bool { return c.pos > 0 && c.head == 0 }
