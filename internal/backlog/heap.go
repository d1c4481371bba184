package backlog

// item is something with a key and the place to note where in its heap it is.
type item interface {
	key() int64
	index() *int
}

// heap is a binary heap with the least key first.
type heap[T item] []T

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	*x.index() = len(*h) - 1
	h.up(len(*h) - 1)
}

// remove takes x out, which must be in the heap. x's key may have changed since it was pushed only if x is the first.
func (h *heap[T]) remove(x T) {
	i, last := *x.index(), len(*h)-1
	h.swap(i, last)
	var none T
	(*h)[last] = none
	*h = (*h)[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h heap[T]) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	*h[i].index(), *h[j].index() = i, j
}

func (h heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].key() <= h[i].key() {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h heap[T]) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].key() < h[least].key() {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
