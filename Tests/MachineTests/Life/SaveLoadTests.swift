import Foundation
import SavedState
import Testing

@testable import Machine

@Suite struct SaveLoadTests {
  @Test func aRunningMachineIsNotSaved() throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    machine.vm.start()
    #expect(throws: MachineError.running) { try machine.vm.saveState() }
    #expect(machine.vm.runState == .running)
  }

  @Test func aStartedMachineLoadsNothing() throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    let saved = try machine.save()
    machine.vm.start(paused: true)
    #expect(throws: MachineError.alreadyStarted) { try machine.vm.loadState(saved.sections) }
  }

  /// New, born paused, paused in the middle, after a reset in a pause, after the guest's end: saved, loaded into another
  /// machine and saved again, each is the same.
  @Test(arguments: ["new", "born paused", "paused", "reset in a pause", "ended by the guest", "powered off"])
  func whatIsSavedIsLoadedAndSavedAgainTheSame(_ state: String) throws {
    let guest = state == "ended by the guest" ? "hello" : "walker32"
    let machine = try BareMetalMachine(guest, memoryMB: 4, cpus: 2)
    switch state {
    case "new": break
    case "born paused": machine.vm.start(paused: true)
    case "ended by the guest":
      machine.vm.start()
      machine.wait(for: "the exit") { $0.exitStatus != nil }
      machine.vm.pause()
    default:
      machine.vm.start()
      machine.waitForHeartbeat()
      machine.vm.pause()
      if state == "reset in a pause" { machine.vm.reset() }
      if state == "powered off" { machine.vm.powerOff() }
    }
    let saved = try machine.save()
    #expect(try machine.vm.saveState() == saved.sections)
    let other = try BareMetalMachine(guest, memoryMB: 4, cpus: 2)
    try other.load(saved)
    #expect(try other.vm.saveState() == saved.sections)
    #expect(other.vm.guestTime == machine.vm.guestTime)
    // And it can go on.
    if state != "ended by the guest" {
      other.vm.start()
      other.waitForHeartbeat()
      #expect(other.exitStatus == nil)
    }
  }

  /// From machine to machine at any moment, until it ends as if it had run in one.
  @Test(arguments: [
    "paging64", "strings32", "exceptions32", "selfmod64", "syscalls32", "tasks32", "fpu64", "interrupts32",
  ])
  func aGuestNoticesNothingOfBeingSavedAndLoaded(_ guest: String) throws {
    var machine = try BareMetalMachine(guest)
    var hops = 0
    machine.vm.start()
    while hops < 40 {
      usleep(UInt32.random(in: 0...4000))
      machine.vm.pause()
      if machine.exitStatus != nil { break }
      let saved = try machine.save()
      // The guest's last word may have come in between.
      if machine.exitStatus != nil { break }
      machine.vm.powerOff()
      let next = try BareMetalMachine(guest, before: saved.text)
      try next.load(saved)
      next.vm.start()
      machine = next
      hops += 1
    }
    machine.vm.resume()
    machine.wait(for: "the exit") { $0.exitStatus != nil }
    #expect(machine.exitStatus == 1)
    #expect(machine.text.hasSuffix(try BareMetalMachine.expected(guest)), "\(hops) hops: \(machine.text.suffix(1500))")
  }

  @Test func whatWasTypedAndNotReadCrosses() throws {
    // In a pause the guest reads nothing: what is typed waits in the UART and behind it.
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    machine.vm.start()
    machine.waitForHeartbeat()
    machine.vm.pause()
    let typed = (0..<100_000).map { UInt8(97 + $0 % 26) }
    var taken = 0
    while taken < typed.count {
      let count = machine.vm.serialInput(slot: 1, Array(typed[taken...]))
      if count == 0 { break }
      taken += count
    }
    // Bounded: the UART's queue and the one before it.
    #expect(taken <= 65536 + SerialPort.inputLimit)
    #expect(taken > SerialPort.inputLimit)
    let other = try BareMetalMachine("walker32", memoryMB: 4)
    try other.load(machine.save())
    machine.vm.powerOff()
    #expect(try other.vm.saveState() == machine.vm.saveState())
    let room = DispatchSemaphore(value: 0)
    other.vm.onSerialRoom(slot: 1) { room.signal() }
    #expect(other.vm.serialInput(slot: 1, [97]) == 0)
    other.vm.start()
    // The walker answers each letter in upper case: all of them come, in order, in spite of the heartbeats between.
    other.wait(for: "the echo of all that was typed") { machine in
      machine.text.filter { $0.isUppercase }.count >= taken
    }
    let echoed = other.text.filter(\.isUppercase).prefix(taken)
    #expect(Array(echoed.utf8) == typed.prefix(taken).map { $0 - 32 })
    #expect(room.wait(timeout: .now() + BareMetalMachine.patience) == .success)
  }

  @Test func everyWrongListOfSectionsIsRefusedByName() throws {
    let saved = try BareMetalMachine("walker32", memoryMB: 4).save()
    func refused(_ sections: [StateSection], _ word: String, cpus: Int = 1) throws {
      let machine = try BareMetalMachine("walker32", memoryMB: 4, cpus: cpus)
      #expect("without, with, or with other sections: \(word)") {
        try machine.vm.loadState(sections)
      } throws: { "\($0)".contains(word) }
    }
    for index in saved.sections.indices {
      var sections = saved.sections
      let gone = sections.remove(at: index)
      try refused(sections, gone.name)
      try refused(saved.sections + [gone], gone.name)
    }
    var sections = saved.sections
    sections.append(try StateSection(name: "warp-drive", kind: "warp", version: 1, state: ["speed": 9]))
    try refused(sections, "warp-drive")
    try refused(saved.sections, "CPUs", cpus: 2)
    try refused([], "machine")
  }
}
