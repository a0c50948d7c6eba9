package podstate

// Report is what a process tells of itself. Session, App, Group and Topic of its partitions are
// known by their Epoch to who hears it; Waiting ones have none.
type Report struct {
	Process    Process
	Partitions []Partition
	Waiting    []Partition
	Incidents  []Incident
}
