import Foundation
import Testing
import X86

@testable import Machine

@Suite struct LifeCycleTests {
  @Test func aGuestRunsToItsEndAndTellsItsStatus() throws {
    let machine = try BareMetalMachine("hello")
    #expect(machine.vm.runState == .stopped)
    machine.vm.start()
    machine.wait(for: "the exit") { $0.exitStatus != nil }
    #expect(machine.exitStatus == 1)
    #expect(machine.text.hasSuffix(try BareMetalMachine.expected("hello")))
    #expect(machine.vm.guestHasEnded)
    machine.vm.powerOff()
    #expect(machine.vm.runState == .stopped)
  }

  @Test func aGuestCanSwitchThePowerOff() throws {
    let machine = try BareMetalMachine("poweroff32")
    machine.vm.start()
    machine.wait(for: "power off") { $0.hasPoweredOff }
    #expect(machine.text.hasSuffix(try BareMetalMachine.expected("poweroff32")))
    #expect(machine.vm.guestHasEnded)
  }

  /// Every call in every state: what it leads to. Calls that make no sense there change nothing.
  @Test func everyCallIsSafeInEveryState() throws {
    enum Call: String, CaseIterable { case start, startPaused, pause, resume, reset, powerOff }
    typealias State = VirtualMachine.RunState
    func apply(_ call: Call, _ vm: VirtualMachine) {
      switch call {
      case .start: vm.start()
      case .startPaused: vm.start(paused: true)
      case .pause: vm.pause()
      case .resume: vm.resume()
      case .reset: vm.reset()
      case .powerOff: vm.powerOff()
      }
    }
    let ways: [(String, [Call], State)] = [
      ("new", [], .stopped), ("running", [.start], .running), ("born paused", [.startPaused], .paused),
      ("paused", [.start, .pause], .paused), ("resumed", [.start, .pause, .resume], .running),
      ("ended", [.start, .powerOff], .stopped), ("ended unborn", [.powerOff], .stopped),
    ]
    for (name, way, state) in ways {
      for call in Call.allCases {
        let machine = try BareMetalMachine("walker32", memoryMB: 4)
        for step in way { apply(step, machine.vm) }
        #expect(machine.vm.runState == state, "\(name)")
        apply(call, machine.vm)
        let hasEnded = way.contains(.powerOff)
        let expected: State =
          switch (call, state) {
          case (.powerOff, _): .stopped
          case (.start, .stopped) where !hasEnded: .running
          case (.startPaused, .stopped) where !hasEnded: .paused
          case (.pause, .running): .paused
          case (.resume, .paused): .running
          default: state
          }
        #expect(machine.vm.runState == expected, "\(call) when \(name)")
      }
    }
  }

  @Test func aMachineBornPausedDoesNothingUntilItIsResumed() throws {
    let machine = try BareMetalMachine("hello")
    machine.vm.start(paused: true)
    let time = machine.vm.guestTime
    usleep(20_000)
    #expect(machine.vm.guestTime == time)
    #expect(machine.text == "")
    machine.vm.resume()
    machine.wait(for: "the exit") { $0.exitStatus != nil }
  }

  @Test func inAPauseGuestTimeAndMemoryStandStill() throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    machine.vm.start()
    for _ in 0..<5 {
      machine.waitForHeartbeat()
      machine.vm.pause()
      let (time, text, state) = (machine.vm.guestTime, machine.text, try machine.save())
      usleep(20_000)
      #expect(machine.vm.guestTime == time)
      #expect(machine.text == text)
      let later = try machine.save()
      #expect(later.memory == state.memory)
      #expect(later.sections == state.sections)
      machine.vm.resume()
    }
    #expect(machine.exitStatus == nil)
  }

  @Test func pausesCountOnce() throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    machine.vm.start()
    machine.waitForHeartbeat()
    for _ in 0..<3 { machine.vm.pause() }
    machine.vm.resume()
    machine.waitForHeartbeat()
  }

  @Test func theGuestsOwnResetsStartItAnew() throws {
    let machine = try BareMetalMachine("reset32")
    machine.vm.start()
    machine.wait(for: "the exit") { $0.exitStatus != nil }
    #expect(machine.text.hasSuffix(try BareMetalMachine.expected("reset32")))
    #expect(machine.exitStatus == 1)
    #expect(machine.resets >= 4)
  }

  @Test func theResetButtonStartsTheGuestAnewAlsoInAPause() throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    machine.vm.start()
    machine.waitForHeartbeat()
    machine.vm.reset()
    machine.wait(for: "the second start") { $0.text.components(separatedBy: "walker: ").count == 3 }
    machine.vm.pause()
    machine.vm.reset()
    #expect(machine.vm.runState == .paused)
    let text = machine.text
    usleep(20_000)
    #expect(machine.text == text)
    machine.vm.resume()
    machine.wait(for: "the third start") { $0.text.components(separatedBy: "walker: ").count == 4 }
    machine.waitForHeartbeat()
  }

  @Test func keysThatNobodyTakesAreRefusedAndNotLost() throws {
    let machine = try BareMetalMachine("walker32", memoryMB: 4)
    machine.vm.start()
    #expect(throws: MachineError.keysWaiting) {
      // More than a megabyte, and the guest takes none.
      for _ in 0..<20 { try machine.vm.pressKeys(scancodes: Array(repeating: 0x1E, count: 65536)) }
    }
    #expect(throws: MachineError.noKey(characters: "é")) { try machine.vm.typeText("aé") }
    #expect(throws: MachineError.noTopic("x", known: VirtualMachine.infoTopics)) { try machine.vm.info("x") }
    #expect(throws: MachineError.noAddress("zz")) { try machine.vm.translatedBlock("zz") }
    machine.waitForHeartbeat()
  }

  @Test func whatIsMissingIsToldByCase() throws {
    #expect(throws: MachineError.noSuchCPUProfile("z80", known: CPUProfile.all.map(\.name))) {
      try BareMetalMachine("hello") { $0.cpuProfile = "z80" }
    }
    #expect(
      throws: MachineError.fileUnreadable(setting: "firmware", what: "firmware", path: "/nowhere", exists: false)
    ) { try BareMetalMachine("hello") { $0.firmware = "/nowhere" } }
    #expect(throws: MachineError.initrdWithoutKernel) { try BareMetalMachine("hello") { $0.initrd = "/x" } }
    #expect(throws: MachineError.notAKernel(path: BareMetalMachine.file("hello.rom"))) {
      try BareMetalMachine("hello") { $0.kernel = BareMetalMachine.file("hello.rom") }
    }
    let disk = MachineConfiguration.Attachment(port: 0, device: 0, kind: .hdd, medium: nil)
    #expect(throws: MachineError.diskWithoutMedium(controller: "C", port: 0, device: 0)) {
      try BareMetalMachine("hello") { $0.storageControllers = [.init(name: "C", bus: .ide, attachments: [disk])] }
    }
    let drive = MachineConfiguration.Attachment(port: 1, device: 0, kind: .dvddrive, medium: nil)
    #expect(throws: MachineError.driveNotPossible(controller: "C", bus: .ide, port: 1, device: 0)) {
      try BareMetalMachine("hello") {
        $0.storageControllers = [.init(name: "C", bus: .ide, attachments: [drive, drive])]
      }
    }
  }
}
