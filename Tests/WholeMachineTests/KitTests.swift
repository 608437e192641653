import Foundation
import Testing
import VMCtlKit

/// The library by which Swift programs work with machines, with a vmctl and machines that are real.
@Suite struct KitTests {
  @Test func aProgramStartsHoldsLooksAtAndEndsAMachine() async throws {
    let test = try TestHost()
    let host = Host(program: TestHost.vmctl, home: test.home)
    #expect(try host.machines() == [])
    try test.create("box", memory: 16, ["--firmware", Guests.bareMetal("watch32.rom")])
    #expect(try host.machines() == ["box"])
    let facts = try host.facts("box")
    #expect(facts["memory"] == .number(16) && facts["hpet"] == .flag(true) && facts["VMState"] == .text("poweroff"))
    #expect(throws: VMCtlError.notRunning("box")) { try host.connect("box") }
    #expect { try host.run("startvm", "bix") } throws: { "\($0)".contains("\"bix\"") }

    try host.run("startvm", "box")
    let box = try host.connect("box")
    #expect(try box.status().state == "running")
    let events = box.events()
    var states: [String] = []
    var iterator = events.makeAsyncIterator()
    states.append(try #require(await iterator.next()?.state))
    try box.pause()
    #expect(try box.status().state == "paused")
    // What is refused changes nothing, and the connection goes on.
    #expect { try box.pause() } throws: { "\($0)".contains("is paused and cannot be paused") }
    #expect(try box.screenshot().starts(with: [0x89, 0x50, 0x4E, 0x47]))
    try box.resume()
    let order = TeleportOrder(host: "127.0.0.1", port: 1)
    #expect { try box.teleport(order) } throws: { $0 is VMCtlError }
    #expect(try box.status().state == "running")
    try box.powerOff()
    while let event = try await iterator.next() { if let state = event.state { states.append(state) } }
    #expect(states.starts(with: ["running", "paused", "running"]) && states.last == "poweroff", "\(states)")
    #expect(try host.facts("box")["VMState"] == .text("poweroff"))
  }

  @Test func aStoppedProcessIsNotWaitedFor() throws {
    let test = try TestHost()
    try test.create("box", memory: 16, ["--firmware", Guests.bareMetal("watch32.rom")])
    try test.vmctl("startvm", "box")
    let box = try MachineConnection(socket: test.home + "/machines/box/control.sock", machine: "box", silence: 1)
    let process = try #require(try box.status().process)
    kill(process, SIGSTOP)
    #expect(throws: VMCtlError.ended("the process of \"box\" says nothing: it is stopped or hangs")) {
      try box.status()
    }
    kill(process, SIGCONT)
    try test.vmctl("controlvm", "box", "poweroff")
  }
}
