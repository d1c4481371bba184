package logs

//go:generate go run ../gen -model $LOGS_MODEL -out model_gen.go -served CreateLogGroup,DeleteLogGroup,DescribeLogGroups,DescribeLogStreams,GetLogEvents,FilterLogEvents,PutRetentionPolicy,DeleteRetentionPolicy,ListTagsForResource,TagResource,UntagResource,ListTagsLogGroup,TagLogGroup,UntagLogGroup,CreateLogStream,PutLogEvents,DeleteLogStream
