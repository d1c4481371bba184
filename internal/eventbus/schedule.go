package eventbus

func checkSchedule(string) error { return invalid("Parameter ScheduleExpression is not valid.") }
