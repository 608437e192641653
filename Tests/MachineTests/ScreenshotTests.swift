import Foundation
import Testing

@testable import Machine

@Suite struct ScreenshotTests {
  @Test func blinkingTextAndTheCursorAreInAPictureWheneverItIsTaken() async throws {
    var configuration = MachineConfiguration()
    configuration.memoryMB = 16
    configuration.verifyCode = true
    let machine = try VirtualMachine(configuration)
    defer { machine.powerOff() }
    machine.start()
    // SeaBIOS, with nothing to boot, leaves a text and a cursor.
    for _ in 0..<6000 where machine.textScreen()?.contains(where: { $0.contains("No bootable device") }) != true {
      try await Task.sleep(for: .milliseconds(10))
    }
    machine.pause()
    let text = machine.textScreen()?.joined() ?? ""
    #expect(text.contains("No bootable device"), "\(text)")
    let (on, off) = machine.lock.withLock {
      (machine.board.vga.renderFrame(blinkOn: true), machine.board.vga.renderFrame(blinkOn: false))
    }
    #expect(on != off, "the cursor blinks")
    // In both phases of the display.
    var phases: Set<Bool> = []
    for _ in 0..<2000 where phases.count < 2 {
      machine.resume()
      try await Task.sleep(for: .milliseconds(20))
      machine.pause()
      phases.insert(machine.lock.withLock { machine.board.vga.renderFrame() } == on)
      #expect(machine.screenshot() == on)
    }
    #expect(phases.count == 2)
  }
}
