package groupcommit

// ByTopic lists the places of points by their topics, both in order.
func ByTopic(points []Point) [][]int {
	var list [][]int
	at := make(map[string]int)
	for i := range points {
		n, known := at[points[i].Topic]
		if !known {
			n = len(list)
			at[points[i].Topic] = n
			list = append(list, nil)
		}
		list[n] = append(list[n], i)
	}
	return list
}

// Index finds points by what an answer names them with: from some version on, topics by id only.
type Index struct {
	names  map[[16]byte]string
	places map[key]int
}

type key struct {
	topic     string
	partition int32
}

// NewIndex is that of these points.
func NewIndex(points []Point) Index {
	x := Index{names: make(map[[16]byte]string), places: make(map[key]int, len(points))}
	for i := range points {
		pt := &points[i]
		x.places[key{pt.Topic, pt.Partition}] = i
		x.names[pt.TopicID] = pt.Topic
	}
	return x
}

// Topic is the name of a topic that an answer names, by its name or its id.
func (x Index) Topic(name string, id [16]byte) string {
	if name == "" {
		return x.names[id]
	}
	return name
}

// Place is that of a point; false: nobody asked about it.
func (x Index) Place(topic string, partition int32) (int, bool) {
	i, asked := x.places[key{topic, partition}]
	return i, asked
}
