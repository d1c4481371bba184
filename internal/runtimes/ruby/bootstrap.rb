# frozen_string_literal: true

# The bootstrap of the Ruby runtimes: polls the Lambda Runtime API and calls a handler. Standard library only.

require 'json'
require 'socket'

$stdout.sync = true
$stderr.sync = true

# RubyGems takes most of Ruby's boot time: it is loaded when something is not in the load path, or asks for it.
module Kernel
  alias hansom_require require
  private :hansom_require

  def require(name)
    hansom_require(name)
  rescue LoadError => e
    raise if defined?(Gem) || e.path != name.to_s

    hansom_require('rubygems')
    require(name)
  end

  def gem(...)
    hansom_require('rubygems')
    gem(...)
  end
  private :require, :gem
end

def Object.const_missing(name)
  return super unless name == :Gem

  require 'rubygems'
  Gem
end

# LambdaContext is what a handler gets as context:.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
              :memory_limit_in_mb, :function_version, :identity, :client_context, :deadline_ms

  def initialize(headers)
    @aws_request_id = headers['lambda-runtime-aws-request-id']
    @deadline_ms = headers['lambda-runtime-deadline-ms'].to_i
    @invoked_function_arn = headers['lambda-runtime-invoked-function-arn']
    @identity = parse(headers['lambda-runtime-cognito-identity'])
    @client_context = parse(headers['lambda-runtime-client-context'])
    @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
    @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
    @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
    @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
  end

  def get_remaining_time_in_millis
    [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
  end

  private

  def parse(header)
    JSON.parse(header.dup.force_encoding(Encoding::UTF_8)) if header && !header.empty?
  end
end

module HansomRuntime
  # Api is a connection to the Runtime API, which is on the same machine and answers in order.
  class Api
    def initialize(address)
      host, _, port = address.rpartition(':')
      @socket = TCPSocket.new(host, port.to_i)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      @address = address
    end

    # Returns the headers, with names in lower case, and the event.
    def next
      status, headers, body = request('GET', 'invocation/next')
      raise IOError, "the Runtime API answered #{status}: #{body}" if status != 200

      [headers, body]
    end

    def post(path, body, headers = {})
      status, _, text = request('POST', path, body, headers)
      warn "The Runtime API answered #{status}: #{text}" if status >= 300
    end

    private

    def request(verb, path, body = nil, headers = {})
      head = +"#{verb} /2018-06-01/runtime/#{path} HTTP/1.1\r\nHost: #{@address}\r\n"
      headers.each { |name, value| head << "#{name}: #{value}\r\n" }
      head << "Content-Length: #{body.bytesize}\r\n" if body
      @socket.write(head << "\r\n", body || '')
      answer
    end

    def answer
      status = line.split(' ', 3)[1].to_i
      headers = {}
      until (text = line).empty?
        name, value = text.split(':', 2)
        headers[name.downcase] = value.strip
      end
      return [status, headers, chunks] if headers['transfer-encoding']

      [status, headers, @socket.read(headers['content-length'].to_i)]
    end

    def chunks
      body = +''
      while (size = line.hex).positive?
        body << @socket.read(size)
        line
      end
      line
      body
    end

    def line
      @socket.gets("\r\n", chomp: true) || raise(EOFError, 'the Runtime API is gone')
    end
  end

  # Trace puts the trace of a call before ENV and not into it: the C library keeps every value that a variable ever had. Who reads
  # ENV finds it there; child processes do not have it. What the program itself sets is an ordinary variable until the next call.
  module Trace
    NAME = '_X_AMZN_TRACE_ID'
    ENVIRONMENT = ENV.method(:to_hash).unbind # without it

    def trace=(value)
      delete(NAME)
      @trace = value && value.dup.force_encoding(Encoding::UTF_8).freeze
    end

    def [](name)
      @trace && NAME == name ? @trace : super
    end

    def fetch(name, *)
      @trace && NAME == name ? @trace : super
    end

    %i[key? has_key? include? member?].each do |method|
      define_method(method) { |name| @trace && NAME == name ? true : super(name) }
    end

    %i[[]= store].each do |method|
      define_method(method) do |name, value|
        @trace = nil if NAME == name
        super(name, value)
      end
    end

    def delete(name)
      return super unless @trace && NAME == name

      trace, @trace = @trace, nil
      trace
    end

    # What reads all variables, or looks for a value, does so in a copy.
    READERS = %i[to_h to_hash to_a each each_pair each_key each_value keys values values_at assoc rassoc key value? has_value? slice
                 except select filter reject invert size length empty? inspect] & ENV.singleton_methods
    READERS.each do |method|
      define_method(method) do |*arguments, &block|
        return super(*arguments, &block) unless @trace

        all = ENVIRONMENT.bind_call(self).merge(NAME => @trace)
        answer = all.public_send(method, *arguments, &block)
        answer.equal?(all) && block ? self : answer
      end
    end

    # What changes many variables changes the true ones.
    %i[update merge! replace clear delete_if keep_if reject! select! filter! shift].each do |method|
      define_method(method) do |*arguments, &block|
        trace, @trace = @trace, nil
        store(NAME, trace) if trace
        super(*arguments, &block)
      end
    end
  end
  ENV.singleton_class.prepend(Trace)

  OWN = File.expand_path(__FILE__)

  class << self
    # Lambda's error JSON. The scope is Init, Function or Runtime.
    def describe(error, scope)
      trace = (error.backtrace || []).reject { |frame| frame.start_with?(OWN, '<internal:') }
      { errorMessage: clean(error.message), errorType: "#{scope}<#{error.class.name}>", stackTrace: trace.map { |frame| clean(frame) } }
    end

    def clean(text)
      text = text.to_s
      text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
    end

    def fail(path, error, scope)
      report = describe(error, scope)
      $stderr.write("#{JSON.generate(report)}\n")
      @api.post(path, JSON.generate(report), 'Content-Type' => 'application/json', 'Lambda-Runtime-Function-Error-Type' => report[:errorType])
    end

    # load returns what a handler string names: FILE.METHOD or FILE.CLASS.METHOD.
    def load(handler)
      file, *rest = handler.split('.')
      if file.nil? || rest.empty? || rest.length > 2
        raise ArgumentError, "Invalid handler #{handler}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace and METHOD is a callable method. If using CLASS, METHOD must be a class-level method."
      end
      require_source(file)
      receiver = rest.length == 2 ? Object.const_get(rest[0]) : TOPLEVEL_BINDING.receiver
      receiver.method(rest.last) # a handler that is not there fails the init, and not each call
    end

    def require_source(file)
      require File.expand_path(file, ENV.fetch('LAMBDA_TASK_ROOT'))
    rescue LoadError => e
      raise if e.path && !e.path.end_with?("/#{file}")

      raise LoadError, "cannot load such file -- #{file}", e.backtrace
    end

    def run
      @api = Api.new(ENV.fetch('AWS_LAMBDA_RUNTIME_API'))
      begin
        handler = load(ENV.fetch('_HANDLER'))
      rescue Exception => e # a syntax error and an exit too
        fail('init/error', e, 'Init')
        exit!(1)
      end
      loop { invoke(handler) }
    end

    def invoke(handler)
      headers, event = @api.next
      path = "invocation/#{headers['lambda-runtime-aws-request-id']}"
      ENV.trace = headers['lambda-runtime-trace-id']
      begin
        type, answer = call(handler, headers, event)
      rescue StandardError => e
        return fail("#{path}/error", e, 'Function')
      rescue Exception => e # an exit, or no memory: the runtime ends after it, as Lambda's does
        fail("#{path}/error", e, 'Function')
        exit!(1)
      end
      @api.post("#{path}/response", answer, 'Content-Type' => type)
    end

    def call(handler, headers, event)
      answer = handler.call(event: JSON.parse(event.force_encoding(Encoding::UTF_8)), context: LambdaContext.new(headers))
      return ['application/unknown', answer.read] if answer.is_a?(IO) || defined?(StringIO) && answer.is_a?(StringIO)

      ['application/json', JSON.generate(answer)]
    end
  end
end

HansomRuntime.run
