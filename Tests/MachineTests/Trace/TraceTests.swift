import Foundation
import Testing

@testable import Machine

@Suite struct TraceTests {
  /// The end that a trace tells, from another thread.
  private final class End: @unchecked Sendable {
    private let condition = NSCondition()
    private var end: TraceEnd?
    func tell(_ new: TraceEnd) {
      condition.lock()
      #expect(end == nil, "it is told once")
      end = new
      condition.broadcast()
      condition.unlock()
    }
    func wait() -> TraceEnd? {
      condition.lock()
      defer { condition.unlock() }
      let patience = Date(timeIntervalSinceNow: BareMetalMachine.patience)
      while end == nil, condition.wait(until: patience) {}
      return end
    }
  }

  @Test func aFullDiskEndsTheTraceAndNotTheMachine() throws {
    let machine = try BareMetalMachine("walker32")
    let full = open("/dev/full", O_WRONLY | O_CLOEXEC)
    try #require(full >= 0)
    machine.vm.start(paused: true)
    let end = End()
    machine.vm.startTrace(TraceRequest([.instructions]), to: full, compresses: false) { end.tell($0) }
    machine.vm.resume()
    let told = try #require(end.wait())
    #expect(told.failure == ENOSPC && told.lines > 0)
    #expect(machine.vm.runState == .running)
    #expect(!machine.vm.stopTrace(), "it has ended by itself")
    machine.vm.powerOff()
  }

  @Test func oneTraceTakesTheOthersPlaceAndEndsWithTheMachine() throws {
    let machine = try BareMetalMachine("walker32")
    machine.vm.start(paused: true)
    func file() throws -> Int32 {
      let file = open("/dev/null", O_WRONLY | O_CLOEXEC)
      try #require(file >= 0)
      return file
    }
    let (first, second) = (End(), End())
    machine.vm.startTrace(TraceRequest([.instructions]), to: try file(), compresses: true) { first.tell($0) }
    machine.vm.startTrace(TraceRequest([.exceptions]), to: try file(), compresses: true) { second.tell($0) }
    #expect(first.wait()?.failure == nil)
    machine.vm.resume()
    machine.vm.powerOff()
    #expect(second.wait()?.failure == nil)
    #expect(!machine.vm.stopTrace())
  }
}
